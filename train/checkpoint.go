package train

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"mocostream/internal/safetensors"
	"mocostream/loader"
)

// Checkpoint is everything a run goes on from: weights and the input's progress of the same instant.
type Checkpoint struct {
	Step    int64        // finished optimisation steps
	Samples int64        // images that finished steps consumed
	Token   loader.Token // of the last finished batch
	Seed    uint64
	Encoder EncoderOptions
	// Config holds the run's effective configuration, key by key, without paths and secrets.
	Config map[string]string
	// Versions names what made the numbers: program, Go, GoMLX, backend and kernel variant.
	Versions map[string]string
	// Extra holds state of other parts (the length of the dead-letter file, say), by name.
	Extra map[string]json.RawMessage
	// Files holds state of other parts that is too large for Extra, to be written as further files of the checkpoint, by
	// plain file name. Of a checkpoint that was read it is nil: see Open.
	Files map[string]io.WriterTo
	// Linked holds files besides that lie on a local disk already, by plain file name. A checkpoint on that disk takes a link.
	// Of a checkpoint that was read it is nil.
	Linked map[string]LinkedFile
	// Open opens one of the Files of a checkpoint that was read, for the caller to close; fs.ErrNotExist if it has no such.
	// Nil otherwise.
	Open func(name string) (io.ReadCloser, error)

	// Model has facebookresearch/moco's names: encoder_q.*, encoder_k.*, queue [dim, K], queue_ptr [1]. Runs of EndToEnd
	// have no queue, those of MemoryBank neither that nor encoder_k, and bank [images, dim].
	Model []safetensors.Tensor
	// Optimizer has <slot>.<parameter>, for example momentum_buffer.encoder_q.conv1.weight.
	Optimizer []safetensors.Tensor
}

// LinkedFile is a file that is synced and never changes any more.
type LinkedFile struct {
	Path   string
	Bytes  int64
	SHA256 string // hex
}

// HasKeyEncoder says whether there is an encoder beside the query encoder.
func (c *Checkpoint) HasKeyEncoder() bool {
	return slices.ContainsFunc(c.Model, func(t safetensors.Tensor) bool { return strings.HasPrefix(t.Name, keyEncoder+".") })
}

// Checkpoints is where checkpoints are kept.
type Checkpoints interface {
	// Save makes c durable and returns its name (step-%09d). After a nil error no crash loses it. Older ones may be
	// pruned by then, never the newest whole one.
	Save(ctx context.Context, c *Checkpoint) (name string, err error)
	// Newest returns the newest whole checkpoint and its name, passing over torn ones; fs.ErrNotExist if there is none.
	Newest(ctx context.Context) (c *Checkpoint, name string, err error)
}
