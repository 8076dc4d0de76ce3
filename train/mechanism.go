package train

import (
	"fmt"
	"math"

	"mocostream/augment"
	"mocostream/internal/safetensors"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// Mechanism says where a query's positive and negatives come from: figure 2 of the paper (arXiv 1911.05722).
type Mechanism string

// The mechanisms.
const (
	MoCo       Mechanism = "moco"        // 2c: a queue of keys of the momentum encoder
	EndToEnd   Mechanism = "end_to_end"  // 2a: the other keys of the batch, whose encoder has gradients too
	MemoryBank Mechanism = "memory_bank" // 2b: entries of a bank with one for every image; there is no key encoder
)

// mechanism is what a Mechanism adds to weights, checkpoint and step.
type mechanism interface {
	// encoders names the encoders, and trained those whose parameters gradients move.
	encoders() []string
	trained() []string

	// reset makes what it keeps beside the encoders, as a run starts.
	reset() error
	// state copies that to the host, as tensors of a checkpoint.
	state() ([]safetensors.Tensor, error)
	// restore puts it back.
	restore(have map[string]safetensors.Tensor) error

	// arguments lists what it takes of a batch.
	arguments() []argument
	// feed returns the arguments' values: []byte, which are b's, []int32 or []int64.
	feed(b *augment.Batch) ([]any, error)

	// prepare is the part of the step that comes before any encoder runs.
	prepare(g *graph.Graph)
	// compare encodes the images of the step's arguments, its own coming first, and sets queries against keys; with Options.Symmetric a second time,
	// the views' parts exchanged.
	compare(arguments []*Node) []contrast
	// finish writes the whole batch's queries or keys to what it keeps; compare saw what was there before.
	finish(arguments []*Node, all []contrast)
}

// argument is one input of the compiled step.
type argument struct {
	name  string
	shape shapes.Shape
	rows  bool // for every image of the batch one: [B, ...], or by parts [parts, B/parts, ...]
}

// The arguments' names.
const (
	queryArgument     = "query views"
	keyArgument       = "key views"
	orderArgument     = "order of keys"
	indexArgument     = "rows of the bank"
	negativesArgument = "negatives"
)

// contrast is what queries are set against, similarities of vectors of length 1.
type contrast struct {
	q, k     *Node // [B, dim]; k are the positives
	positive *Node // [B, 1]
	negative *Node // [B, n]
	out      *Node // [B, n] bool: those among them that do not count, see Mask; nil if all do
	apart    *Node // scalar: see AlignOptions; nil without
	lag      *Node // scalar: seconds between the queue's samples and the batch's; nil if unknown
	// logits returns similarities over the temperature, as the reference orders them. For tests.
	logits func() *Node
}

// arguments are what the compiled step takes of a batch: the mechanism's and, where it is told, whose images they are and
// which of them were there before.
func (t *Trainer) arguments() []argument {
	list := t.mechanism.arguments()
	if t.options.tagged() {
		list = append(list, t.options.rows(tagsArgument, dtypes.Int64, tagColumns))
	}
	if t.options.Align.on() && t.options.Align.Replayed {
		list = append(list, t.options.rows(replayedArgument, dtypes.Int32))
	}
	return list
}

// feed returns the arguments' values, as mechanism.feed does.
func (t *Trainer) feed(b *augment.Batch) ([]any, error) {
	values, err := t.mechanism.feed(b)
	if t.options.tagged() {
		values = append(values, tagsOf(b))
	}
	if t.options.Align.on() && t.options.Align.Replayed {
		values = append(values, replayedOf(b))
	}
	return values, err
}

// named finds one of the step's arguments; nil if it takes no such.
func (t *Trainer) named(arguments []*Node, name string) *Node {
	for i, a := range t.arguments() {
		if a.name == name {
			return arguments[i]
		}
	}
	return nil
}

// newMechanism makes the mechanism that the options name.
func newMechanism(t *Trainer) mechanism {
	switch t.options.Mechanism {
	case EndToEnd:
		return endToEnd{t}
	case MemoryBank:
		return memoryBank{t}
	}
	return moco{t}
}

// Queue is the length of the queue, 0 where the mechanism has none.
func (o Options) Queue() int {
	if o.Mechanism == MoCo {
		return o.K
	}
	return 0
}

// Negatives is how many negatives a query has.
func (o Options) Negatives() int {
	if o.Mechanism == EndToEnd {
		return o.Batch/o.parts() - 1
	}
	return o.K
}

// GuessLoss is the loss of an encoder that cannot tell a query's key from the negatives.
func (o Options) GuessLoss() float64 {
	loss := math.Log(float64(o.Negatives() + 1))
	if o.Symmetric {
		loss *= 2
	}
	return loss
}

// parts is in how many parts a batch is computed.
func (o Options) parts() int { return max(o.Accumulate, 1) }

// ofParts says in errors that a batch is cut.
func (o Options) ofParts() string {
	if o.parts() == 1 {
		return ""
	}
	return fmt.Sprintf(" (a part of %d, train.accumulate)", o.Batch)
}

// keys is how many keys a step brings: two for an image where each view is a query.
func (o Options) keys() int {
	if o.Symmetric {
		return 2 * o.Batch
	}
	return o.Batch
}

// validateMechanism names what the mechanism cannot do with the options.
func (o Options) validateMechanism() error {
	switch o.Mechanism {
	case EndToEnd:
		return nil
	case MoCo:
		if o.Symmetric && o.K < o.keys() {
			return fmt.Errorf("train: a queue of %d keys is shorter than the %d of a step, two an image (train.symmetric); raise train.k", o.K, o.keys())
		}
		if o.K < o.Batch {
			return fmt.Errorf("train: a queue of %d keys is shorter than the batch (%d); raise train.k", o.K, o.Batch)
		}
		if o.M < 0 || o.M > 1 {
			return fmt.Errorf("train: the key encoder's momentum must be in [0, 1], got %v; change train.m", o.M)
		}
		return nil
	case MemoryBank:
		switch {
		case o.Symmetric:
			return fmt.Errorf("train: %s has no key encoder for the second view; set train.symmetric to false", MemoryBank)
		case o.Bank.Rows == nil:
			return fmt.Errorf("train: %s keeps an entry for every image and needs a source with an end; use %s", MemoryBank, MoCo)
		case o.K < 1:
			return fmt.Errorf("train: %d negatives a step; use at least 1 (train.k)", o.K)
		case o.Bank.Momentum < 0 || o.Bank.Momentum >= 1:
			return fmt.Errorf("train: the bank's momentum must be in [0, 1), got %v; change train.bank_momentum", o.Bank.Momentum)
		}
		return nil
	}
	return fmt.Errorf("train: unknown mechanism %q; use %s, %s or %s", o.Mechanism, MoCo, EndToEnd, MemoryBank)
}

// rows is an argument with one element of the given shape for every image.
func (o Options) rows(name string, dtype dtypes.DType, shape ...int) argument {
	images := []int{o.Batch}
	if parts := o.parts(); parts > 1 {
		images = []int{parts, o.Batch / parts}
	}
	return argument{name, shapes.Make(dtype, append(images, shape...)...), true}
}

// views is the argument of one view of the batch.
func (o Options) views(name string) argument { return o.rows(name, dtypes.Uint8, o.Size, o.Size, 3) }

// similarity is the matrix [n, m] of the products of the rows of a [n, dim] and b [m, dim].
func similarity(a, b *Node) *Node {
	return graph.DotGeneral(a, []int{1}, nil, b, []int{1}, nil)
}

// rowwise is the column [n, 1] of the products of row i of a with row i of b, both [n, dim].
func rowwise(a, b *Node) *Node {
	return graph.ReduceAndKeep(graph.Mul(a, b), graph.ReduceSum, 1)
}

// against sets queries q against a key each, k, and against negatives [n, dim] that all share.
func (t *Trainer) against(q, k, negatives *Node) contrast {
	c := contrast{q: q, k: k, positive: rowwise(q, k), negative: similarity(q, negatives)}
	c.logits = func() *Node {
		return graph.MulScalar(graph.Concatenate([]*Node{c.positive, c.negative}, 1), 1/t.options.T)
	}
	return c
}
