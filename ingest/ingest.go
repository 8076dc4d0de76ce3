// Package ingest reads encoded images from where they lie. It knows files, shards and (later) buckets and topics; it
// never decodes a pixel. A source is either Bounded (the loader chooses the order) or a Stream (the source does).
//
// Samples travel as Arrow record batches of Schema.
package ingest

import (
	"context"

	"github.com/apache/arrow/go/v17/arrow"
)

// Columns of Schema, by index.
const (
	ColKey       = iota // utf8: file path, S3 key or Kafka key
	ColImage            // binary: the encoded bytes, untouched
	ColLabel            // int32, nullable: class of a labelled source
	ColTime             // timestamp[us], nullable: when the sample came to be
	ColSource           // utf8: hash of the manifest; or cluster id, topic and topic id
	ColPartition        // int32: file's or shard's index in the manifest; or Kafka's partition
	ColOffset           // int64: index in the shard (0 for a file); or Kafka's offset
	ColItem             // int32: which image of a message that holds several, else 0
	ColItems            // int32: images in that message, ManyItems where it is not known yet
	ColProblem          // utf8, nullable: why the source has no image for a sample that it has to give; a bad image
)

// ManyItems stands for the number of images of a message or object on all but its last image, where a source learns the
// number by reading to the end: a followed shard of thousands, say.
const ManyItems = -1

// Deleted is the Problem of a sample that is none: its source asks to forget what came under its key before. Only a source
// that was told to gives such samples; a replay buffer takes them.
const Deleted = "deleted by the source"

// Schema is the form of every record that a Reader returns.
var Schema = arrow.NewSchema([]arrow.Field{
	{Name: "key", Type: arrow.BinaryTypes.String},
	{Name: "image", Type: arrow.BinaryTypes.Binary},
	{Name: "label", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "source", Type: arrow.BinaryTypes.String},
	{Name: "partition", Type: arrow.PrimitiveTypes.Int32},
	{Name: "offset", Type: arrow.PrimitiveTypes.Int64},
	{Name: "item", Type: arrow.PrimitiveTypes.Int32},
	{Name: "items", Type: arrow.PrimitiveTypes.Int32},
	{Name: "problem", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// ID names a sample for ever. Progress and the random keys of augmentation use all four fields.
type ID struct {
	Source    string `json:"source"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Item      int32  `json:"item,omitempty"`
}

// Bounded is a source with an end: a folder, a set of shards. The loader owns the order in which it is read.
type Bounded interface {
	// Manifest returns the frozen list of partitions. The first call may list the source and count its samples; the
	// list is then stored, and a file added later changes nothing until the user asks for a new one. The manifest stays
	// the source's: callers do not Close it.
	Manifest(ctx context.Context) (*Manifest, error)
	// Read opens partition at sample index from (0-based) and returns its samples in order, io.EOF after the last.
	// It may be called concurrently. A call per file is cheap; a shard is meant to be read through. A partition that no
	// longer is what the manifest says (size, or gone) is an error that names it.
	Read(ctx context.Context, partition int32, from int64) (Reader, error)
}

// Stream is a source without an end: a topic, a followed prefix. The source owns the order.
type Stream interface {
	// Open starts at the first gap in done and skips what is inside it.
	Open(ctx context.Context, done Progress) (StreamReader, error)
}

// StreamReader is a Reader of a stream, which also meets what will never become a sample.
type StreamReader interface {
	Reader
	// Passed returns, and forgets, the offsets met since the call before that will never be samples: control and aborted
	// records, tombstones, compacted, lost and shed ones, and what lies before the start. Called by the goroutine of
	// Next, after it; they belong before the samples that Next returned last. Next may return a record without rows to
	// have them taken. Found again after a resume they are reported again.
	Passed() []Span
}

// Span is the offsets Start <= o < End of one partition of a stream.
type Span struct {
	Source     string
	Partition  int32
	Start, End int64
}

// AppendSpan adds s to spans, as a longer last one where it joins that.
func AppendSpan(spans []Span, s Span) []Span {
	if s.Start >= s.End {
		return spans
	}
	for i := len(spans) - 1; i >= 0; i-- {
		last := &spans[i]
		if last.Source != s.Source || last.Partition != s.Partition {
			continue
		}
		if s.Start <= last.End && s.End >= last.Start {
			last.Start, last.End = min(last.Start, s.Start), max(last.End, s.End)
			return spans
		}
		break
	}
	return append(spans, s)
}

// Reader hands out samples. It is used by one goroutine, except Close, which may be called from another at any time
// and unblocks Next.
type Reader interface {
	// Next returns one or more samples in Schema; the record is the caller's, to Release. It blocks until there is one
	// and returns io.EOF after the last of a bounded source, ctx.Err() when cancelled, net.ErrClosed after Close.
	// A reader that was cancelled while it worked may stay at that error. Images above the source's limit come cut to
	// one byte more than it, which is how a consumer knows them.
	Next(ctx context.Context) (arrow.Record, error)
	// Close releases what the reader holds, but not the records handed out. Closing again is a no-op.
	Close() error
}
