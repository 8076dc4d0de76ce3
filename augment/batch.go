package augment

import (
	"mocostream/ingest"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// Columns of a view batch, by index.
const (
	ColQuery     = iota // fixed_size_list<uint8>[size*size*3]: NHWC, RGB
	ColKeyView          // "key", the same: the second view
	ColSource           // identity of the sample, as ingest.Schema has it
	ColPartition        //
	ColOffset           //
	ColItem             //
	ColKey              // "sample_key", utf8: path or key
	ColTime             // timestamp[us], nullable
	ColLabel            // int32, nullable
	ColHash             // uint64: near-duplicate hash of the decoded image (difference hash, 8x8 bits)
	ColGroup            // uint64: hash of what the sample comes from (loader.Sample.Group)
	ColVisit            // int64: how often a replay buffer gave it before; 0 without one
	ColPosition         // uint64: place in training order (loader.Sample.Position)
)

// BatchSchema returns the Arrow schema of view batches of size x size pixels.
func BatchSchema(size int) *arrow.Schema {
	view := arrow.FixedSizeListOfNonNullable(int32(size*size*3), arrow.PrimitiveTypes.Uint8)
	return arrow.NewSchema([]arrow.Field{
		{Name: "query", Type: view},
		{Name: "key", Type: view},
		{Name: "source", Type: arrow.BinaryTypes.String},
		{Name: "partition", Type: arrow.PrimitiveTypes.Int32},
		{Name: "offset", Type: arrow.PrimitiveTypes.Int64},
		{Name: "item", Type: arrow.PrimitiveTypes.Int32},
		{Name: "sample_key", Type: arrow.BinaryTypes.String},
		{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "label", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "hash", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "group", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "visit", Type: arrow.PrimitiveTypes.Int64},
		{Name: "position", Type: arrow.PrimitiveTypes.Uint64},
	}, nil)
}

// Batch is two views of each of B images, in training order, as the trainer takes them. Its buffers come from a ring:
// the owner calls Release exactly once, when the device has its copy.
type Batch struct {
	Record arrow.Record // BatchSchema(Size)
	Size   int          // height and width of a view in pixels
	// Token is the state of the input side once this batch is consumed.
	Token loader.Token
	// Replayed says that the samples are draws from a replay buffer, and Admitted which samples of the source went into it
	// for this batch.
	Replayed bool
	Admitted []ingest.ID
	// Dead holds what was found undecodable since the batch before.
	Dead []loader.DeadLetter

	release func()
}

// Len returns B, the number of images.
func (b *Batch) Len() int { return int(b.Record.NumRows()) }

// Query returns the first views, [B, Size, Size, 3] uint8, valid until Release.
func (b *Batch) Query() []byte { return b.views(ColQuery) }

// Key returns the second views, [B, Size, Size, 3] uint8, valid until Release.
func (b *Batch) Key() []byte { return b.views(ColKeyView) }

func (b *Batch) views(col int) []byte {
	return b.Record.Column(col).(*array.FixedSizeList).ListValues().(*array.Uint8).Uint8Values()
}

// Release gives the buffers back to the ring.
func (b *Batch) Release() {
	if b.release != nil {
		b.release()
		b.release = nil
	}
}
