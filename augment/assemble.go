package augment

import (
	"mocostream/ingest"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// batchAssembler makes view batches: pixels by reference to the ring's buffer, the other columns by copy.
//
// The record owns its share of the buffer as Arrow counts it. Batch.Release gives up the batch's reference, and the buffer
// is back in the ring when nobody holds another: a record retained beyond Release stays intact, at the price of
// a buffer less for the pool.
type batchAssembler struct {
	layout  layout
	ring    *ring
	schema  *arrow.Schema
	columns *array.RecordBuilder // ColSource and what follows it
	rule    loader.BadRule
	token   loader.Token
	dead    []loader.DeadLetter

	replayed bool
	admitted []ingest.ID // into a replay buffer
}

var _ assembler[Batch] = (*batchAssembler)(nil)

func newBatchAssembler(opts PoolOptions, l layout, r *ring) *batchAssembler {
	schema := BatchSchema(l.size)
	columns := array.NewRecordBuilder(opts.Allocator, arrow.NewSchema(schema.Fields()[ColSource:], nil))
	columns.Reserve(l.batch)
	return &batchAssembler{
		layout: l, ring: r, schema: schema, columns: columns,
		rule: opts.Bad, token: opts.Start.Clone(),
	}
}

// consume counts a sample, good or bad.
func (a *batchAssembler) consume(s *loader.Sample) {
	a.token.Consume(s)
	a.replayed = s.Replayed()
	a.admitted = append(a.admitted, s.Admitted()...)
}

func (a *batchAssembler) good(j *job) error {
	a.consume(&j.sample)
	if err := a.rule.Note(&a.token, j.sample.Position, false); err != nil {
		return err
	}
	time, timed := j.sample.Time()
	label, labelled := j.sample.Label()
	a.strings(ColSource).Append(j.id.Source)
	a.columns.Field(ColPartition - ColSource).(*array.Int32Builder).Append(j.id.Partition)
	a.columns.Field(ColOffset - ColSource).(*array.Int64Builder).Append(j.id.Offset)
	a.columns.Field(ColItem - ColSource).(*array.Int32Builder).Append(j.id.Item)
	a.strings(ColKey).Append(j.sample.Key())
	appendIf(a.columns.Field(ColTime-ColSource).(*array.TimestampBuilder), arrow.Timestamp(time), timed)
	appendIf(a.columns.Field(ColLabel-ColSource).(*array.Int32Builder), label, labelled)
	a.columns.Field(ColHash - ColSource).(*array.Uint64Builder).Append(j.hash)
	a.columns.Field(ColGroup - ColSource).(*array.Uint64Builder).Append(j.sample.Group)
	a.columns.Field(ColVisit - ColSource).(*array.Int64Builder).Append(j.sample.Visit)
	a.columns.Field(ColPosition - ColSource).(*array.Uint64Builder).Append(j.sample.Position)
	return nil
}

func (a *batchAssembler) strings(column int) *array.StringBuilder {
	return a.columns.Field(column - ColSource).(*array.StringBuilder)
}

func appendIf[V any](b interface {
	Append(V)
	AppendNull()
}, v V, valid bool,
) {
	if valid {
		b.Append(v)
	} else {
		b.AppendNull()
	}
}

func (a *batchAssembler) bad(j *job) error {
	a.consume(&j.sample)
	if j.sample.Visit == 0 { // a bad image may be drawn again before its buffer hears of it
		a.dead = append(a.dead, *j.dead)
	}
	return a.rule.Note(&a.token, j.sample.Position, true)
}

func (a *batchAssembler) full(pixels []byte) Batch {
	others := a.columns.NewRecord()
	defer others.Release()
	views := a.views(pixels)
	defer views[0].Release()
	defer views[1].Release()
	record := array.NewRecord(a.schema, append(views, others.Columns()...), int64(a.layout.batch))
	b := Batch{
		Record: record, Size: a.layout.size, Token: a.token.Clone(), Dead: a.dead, release: record.Release,
		Replayed: a.replayed, Admitted: a.admitted,
	}
	a.dead, a.admitted = nil, nil
	return b
}

// views wraps the two halves of a buffer as columns, without a copy. They hold the only references to it.
func (a *batchAssembler) views(pixels []byte) []arrow.Array {
	whole := a.ring.buffer(pixels)
	defer whole.Release()
	columns := make([]arrow.Array, a.layout.views)
	for v := range columns {
		part := memory.SliceBuffer(whole, v*a.layout.stride(), a.layout.batch*a.layout.image())
		columns[v] = viewColumn(a.schema.Field(v).Type, part, a.layout)
		part.Release()
	}
	return columns
}

func viewColumn(kind arrow.DataType, part *memory.Buffer, l layout) arrow.Array {
	values := array.NewData(arrow.PrimitiveTypes.Uint8, part.Len(), []*memory.Buffer{nil, part}, nil, 0, 0)
	defer values.Release()
	list := array.NewData(kind, l.batch, []*memory.Buffer{nil}, []arrow.ArrayData{values}, 0, 0)
	defer list.Release()
	return array.NewFixedSizeListData(list)
}

func (a *batchAssembler) rest([]byte, int) (Batch, bool) { return Batch{}, false }

func (a *batchAssembler) drop(b Batch) { b.Release() }

// release ends the assembler and returns the dead letters that no batch took.
func (a *batchAssembler) release() []loader.DeadLetter {
	a.columns.Release()
	return a.dead
}
