package ingest

import (
	"cmp"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// growLimit is the capacity in bytes up to which a Builder doubles.
const growLimit = 1 << 20

// Row is one sample beside its image, as a source adds it to a Builder.
type Row struct {
	ID
	// Items is the number of images in the sample's message; 0 is 1. All but the last image of a message may say
	// ManyItems, where the source does not know yet.
	Items int32
	Key   string
	Label *int32           // nil: none
	Time  *arrow.Timestamp // microseconds since 1970 UTC; nil: unknown
	// Problem says why there is no image, for a person; the sample then counts as a bad image and its image is empty, or
	// what was found instead. "" is none.
	Problem string
}

// Builder gathers samples into records of Schema. Images are read straight into the record's memory, once. It is used
// by one goroutine, and released when no longer needed, except for the records it made.
type Builder struct {
	mem     memory.Allocator
	columns *array.RecordBuilder // all columns; the image's stays empty
	images  *memory.Buffer       // nil: none yet
	ends    []int32              // of each image in images
	labels  []int32
	valid   []bool
}

// NewBuilder makes a Builder. A nil allocator means Go's heap.
func NewBuilder(mem memory.Allocator) *Builder {
	if mem == nil {
		mem = memory.NewGoAllocator()
	}
	return &Builder{mem: mem, columns: array.NewRecordBuilder(mem, Schema)}
}

// Append adds a sample and copies its image.
func (b *Builder) Append(row Row, image []byte) {
	end := b.Bytes()
	b.reserve(len(image))
	copy(b.images.Bytes()[end:], image)
	b.finish(row)
}

// AppendFrom adds a sample whose image is the next size bytes of r. When r fails or ends early (io.ErrUnexpectedEOF)
// nothing is added. A record can hold 2 GiB of images; the caller keeps far below.
func (b *Builder) AppendFrom(row Row, r io.Reader, size int) error {
	end := b.Bytes()
	b.reserve(size)
	if _, err := io.ReadFull(r, b.images.Bytes()[end:]); err != nil {
		b.images.ResizeNoShrink(end)
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	b.finish(row)
	return nil
}

// Grow makes room for bytes of images in all, so that a record of known size is allocated once.
func (b *Builder) Grow(bytes int) {
	if b.images == nil {
		b.images = memory.NewResizableBuffer(b.mem)
	}
	b.images.Reserve(bytes)
}

// reserve makes the images longer by size bytes. Capacity doubles while it is small; a long image gets what it needs.
func (b *Builder) reserve(size int) {
	need := b.Bytes() + size
	b.Grow(0)
	if need > b.images.Cap() {
		b.images.Reserve(max(need, min(2*b.images.Cap(), growLimit)))
	}
	b.images.ResizeNoShrink(need)
}

func (b *Builder) finish(row Row) {
	b.ends = append(b.ends, int32(b.images.Len()))
	b.labels = append(b.labels, 0)
	b.valid = append(b.valid, false)
	if row.Label != nil {
		b.SetLabel(*row.Label)
	}
	b.columns.Field(ColKey).(*array.StringBuilder).Append(row.Key)
	b.columns.Field(ColSource).(*array.StringBuilder).Append(row.Source)
	b.columns.Field(ColPartition).(*array.Int32Builder).Append(row.Partition)
	b.columns.Field(ColOffset).(*array.Int64Builder).Append(row.Offset)
	b.columns.Field(ColItem).(*array.Int32Builder).Append(row.Item)
	b.columns.Field(ColItems).(*array.Int32Builder).Append(cmp.Or(row.Items, 1))
	problem := b.columns.Field(ColProblem).(*array.StringBuilder)
	if row.Problem == "" {
		problem.AppendNull()
	} else {
		problem.Append(row.Problem)
	}
	when := b.columns.Field(ColTime).(*array.TimestampBuilder)
	if row.Time == nil {
		when.AppendNull()
		return
	}
	when.Append(*row.Time)
}

// SetLabel gives the newest sample its label, for sources where it comes after the image.
func (b *Builder) SetLabel(label int32) {
	b.labels[len(b.labels)-1], b.valid[len(b.valid)-1] = label, true
}

// Len returns the number of samples gathered.
func (b *Builder) Len() int { return len(b.ends) }

// Bytes returns the bytes of the images gathered.
func (b *Builder) Bytes() int {
	if b.images == nil {
		return 0
	}
	return b.images.Len()
}

// Record returns what was gathered, which is the caller's to Release, and starts anew.
func (b *Builder) Record() arrow.Record {
	b.columns.Field(ColLabel).(*array.Int32Builder).AppendValues(b.labels, b.valid)
	columns := make([]arrow.Array, len(b.columns.Fields()))
	for i, field := range b.columns.Fields() {
		if i == ColImage {
			columns[i] = b.imageArray()
		} else {
			columns[i] = field.NewArray()
		}
		defer columns[i].Release() // the record holds its own reference
	}
	record := array.NewRecord(Schema, columns, int64(b.Len()))
	b.ends, b.labels, b.valid = b.ends[:0], b.labels[:0], b.valid[:0]
	return record
}

// imageArray wraps the gathered bytes as a column without a copy.
func (b *Builder) imageArray() arrow.Array {
	b.Grow(0)
	offsets := memory.NewResizableBuffer(b.mem)
	defer offsets.Release()
	offsets.Resize(arrow.Int32Traits.BytesRequired(b.Len() + 1))
	values := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	values[0] = 0
	copy(values[1:], b.ends)
	data := array.NewData(arrow.BinaryTypes.Binary, b.Len(), []*memory.Buffer{nil, offsets, b.images}, nil, 0, 0)
	defer data.Release()
	b.images.Release()
	b.images = nil
	return array.NewBinaryData(data)
}

// Release frees what was gathered and not handed out.
func (b *Builder) Release() {
	b.columns.Release()
	if b.images != nil {
		b.images.Release()
		b.images = nil
	}
}
