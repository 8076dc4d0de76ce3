// Package pack writes the samples of a bounded source into shards, with an index beside them: tar files in WebDataset's
// convention, or tables (Parquet, Arrow IPC) as Hugging Face's datasets have them. Images are copied untouched, and equal
// input gives equal bytes.
package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"mocostream/ingest"
	"mocostream/ingest/internal/shard"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// IndexName is the name of the index that lies beside shards.
const IndexName = shard.IndexName

// Entry is what the index says of one shard.
type Entry = shard.Entry

// Formats of shards.
const (
	Tar     = "tar"
	Parquet = "parquet"
	Arrow   = "arrow"
)

const (
	// DefaultShardBytes is about the size of a shard.
	DefaultShardBytes = 256 << 20
	// DefaultPattern is how shards are named.
	DefaultPattern = "train-%06d"
	// MaxImage is the largest image that is packed, in bytes. A source for packing has this limit or a lower one.
	MaxImage = 256 << 20
	// MaxShards is how many shards one call writes at most.
	MaxShards = 1_000_000
)

// Options say how to pack.
type Options struct {
	Format string // Tar, Parquet or Arrow; "" is Tar
	// MaxShardBytes begins another shard before this size is passed; one sample may pass it alone. 0 is DefaultShardBytes.
	MaxShardBytes int64
	MaxSamples    int64 // of a shard; 0 is no limit
	// Labels writes those that the source has.
	Labels bool
	// Shuffle takes the source's files in an order drawn from Seed. The samples of one shard stay together: it is meant
	// for folders, whose files are one sample each.
	Shuffle bool
	Seed    uint64
	// Pattern is the name of a shard without its extension, with one %d or %06d for its number; "" is DefaultPattern.
	Pattern string
	// MaxBytes is the source's limit: an image of more bytes came cut, and is left out. 0 is MaxImage.
	MaxBytes int64
	// Skipped is told of every sample that is left out; nil is nobody.
	Skipped func(key, reason string)
}

// Result says what was written.
type Result struct {
	Shards  []Entry
	Samples int64
	Bytes   int64 // of all shards
	Skipped int64 // samples left out: too large, or without an image
}

// Destination is where shards go.
type Destination interface {
	// Create starts an object; nobody sees it before Close.
	Create(ctx context.Context, name string) (Writer, error)
}

// Writer is an object in the making. It is ended by Close, which publishes it whole and durably, or by Abort, which
// leaves nothing behind and is a no-op after Close.
type Writer interface {
	io.WriteCloser
	Abort() error
}

// withDefaults checks the options and fills in what is not set.
func (o Options) withDefaults() (Options, error) {
	o.Format = cmp.Or(o.Format, Tar)
	o.MaxShardBytes = cmp.Or(o.MaxShardBytes, DefaultShardBytes)
	o.Pattern = cmp.Or(o.Pattern, DefaultPattern)
	o.MaxBytes = cmp.Or(o.MaxBytes, MaxImage)
	name := fmt.Sprintf(o.Pattern, 0)
	switch {
	case o.Format != Tar && o.Format != Parquet && o.Format != Arrow:
		return o, fmt.Errorf("pack: format %q is not known; use tar, parquet or arrow", o.Format)
	case o.MaxShardBytes < 0 || o.MaxSamples < 0:
		return o, fmt.Errorf("pack: a shard of %d bytes and %d samples; set positive limits", o.MaxShardBytes, o.MaxSamples)
	case o.MaxBytes < 0 || o.MaxBytes > MaxImage:
		return o, fmt.Errorf("pack: largest image of %d bytes is not in 1..%d", o.MaxBytes, MaxImage)
	case strings.Contains(name, "%!") || name == fmt.Sprintf(o.Pattern, 1) || strings.ContainsAny(name, "/\\"):
		return o, fmt.Errorf("pack: pattern %q does not name shards; use one %%d or %%06d, as in %s", o.Pattern, DefaultPattern)
	}
	return o, nil
}

// Write packs all of a source into shards and, after the last, the index. The first error ends it: shards that are whole
// stay, the index is missing then.
func Write(ctx context.Context, src ingest.Bounded, to Destination, o Options) (Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	m, err := src.Manifest(ctx)
	if err != nil {
		return Result{}, err
	}
	p := &packer{Options: o, to: to}
	if err := p.all(ctx, src, m); err != nil {
		p.abort()
		return p.result, fmt.Errorf("pack: %w", err)
	}
	if p.result.Samples == 0 {
		return p.result, errors.New("pack: no sample has an image that can be packed")
	}
	if err := writeIndex(ctx, to, p.result.Shards); err != nil {
		return p.result, fmt.Errorf("pack: %w", err)
	}
	return p.result, nil
}

// packer writes one shard after another.
type packer struct {
	Options
	to      Destination
	current *output // nil: none open
	result  Result
}

// order is the partitions' in which they are packed; nil is as they are listed.
func (p *packer) order(n int32) []int32 {
	if !p.Shuffle {
		return nil
	}
	order := make([]int32, n)
	for i := range order {
		order[i] = int32(i)
	}
	rng := rand.New(rand.NewPCG(p.Seed, 0x7061636b)) // a stream of its own
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

func (p *packer) all(ctx context.Context, src ingest.Bounded, m *ingest.Manifest) error {
	order := p.order(m.Len())
	for i := range m.Len() {
		partition := i
		if order != nil {
			partition = order[i]
		}
		if err := ingest.Records(ctx, src, partition, func(r arrow.Record) error { return p.record(ctx, r) }); err != nil {
			return err
		}
	}
	return p.finish()
}

func (p *packer) record(ctx context.Context, record arrow.Record) error {
	keys := record.Column(ingest.ColKey).(*array.String)
	images := record.Column(ingest.ColImage).(*array.Binary)
	labels := record.Column(ingest.ColLabel).(*array.Int32)
	problems := record.Column(ingest.ColProblem).(*array.String)
	for i := range int(record.NumRows()) {
		s := sample{key: keys.Value(i), image: images.Value(i)}
		if p.Labels && labels.IsValid(i) {
			s.label = new(labels.Value(i))
		}
		reason := ""
		switch {
		case problems.IsValid(i):
			reason = problems.Value(i)
		case int64(len(s.image)) > p.MaxBytes:
			reason = fmt.Sprintf("it has more than %d bytes", p.MaxBytes)
		}
		if reason != "" {
			p.skip(s.key, reason)
			continue
		}
		if err := p.add(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) skip(key, reason string) {
	p.result.Skipped++
	if p.Skipped != nil {
		p.Skipped(key, reason)
	}
}

// sample is one to be packed. It is the record's.
type sample struct {
	key   string
	image []byte
	label *int32
}

// add writes a sample, into another shard where it does not fit into this one.
func (p *packer) add(ctx context.Context, s sample) error {
	if c := p.current; c != nil && (c.size()+c.format.cost(s) > p.MaxShardBytes || p.MaxSamples > 0 && c.samples >= p.MaxSamples) {
		if err := p.finish(); err != nil {
			return err
		}
	}
	if p.current == nil {
		if len(p.result.Shards) == MaxShards {
			return fmt.Errorf("more than %d shards; make them larger", MaxShards)
		}
		name := fmt.Sprintf(p.Pattern, len(p.result.Shards)) + "." + p.Format
		var err error
		if p.current, err = newOutput(ctx, p.to, name, p.Options); err != nil {
			return err
		}
	}
	p.result.Samples++
	return p.current.add(s)
}

// finish publishes the open shard, if any.
func (p *packer) finish() error {
	if p.current == nil {
		return nil
	}
	entry, err := p.current.finish()
	if err != nil {
		return err
	}
	p.current = nil
	p.result.Shards = append(p.result.Shards, entry)
	p.result.Bytes += entry.Size
	return nil
}

func (p *packer) abort() {
	if p.current != nil {
		_ = p.current.to.Abort() // the first error is the one to hear of
	}
}
