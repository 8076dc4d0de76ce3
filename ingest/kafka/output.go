package kafka

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

const (
	// chunkBytes is about how much a record handed out holds.
	chunkBytes = 1 << 20
	// chunkRows is the most samples of one.
	chunkRows = 4096
	// groupRecords is how many messages are decoded at a time.
	groupRecords = 64
)

// chunk is a record ready to be handed out.
type chunk struct {
	partition *partition
	record    arrow.Record
	passed    []ingest.Span
	next      int64 // all offsets before it of this partition are in this chunk or in one before it
	holds     []*hold
}

// release gives back the memory that the chunk stood for.
func (c *chunk) release() {
	for _, h := range c.holds {
		h.release()
	}
	c.holds = nil
}

// decodeError is an error of a Decoder, which ends the reader.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }

// output turns the messages of a partition into chunks and sends them to the reader.
type output struct {
	p       *partition
	builder *ingest.Builder
	spare   *ingest.Builder // for messages that are consumed in part
	passed  []ingest.Span
	hold    *hold // of the answer being taken
	slot    *hold // of the decompressor; nil without one
	end     int64 // of the log
	left    int   // about how many bytes of records the answer still holds; 0: unknown, as some are left out

	rows      []ingest.Row
	records   []*record // of slab
	slab      [groupRecords]record
	bytes     int // in records
	witnesses []witness
}

func (o *output) open(p *partition) {
	o.p, o.builder = p, ingest.NewBuilder(p.r.o.Mem)
}

func (o *output) close() {
	if o.builder != nil {
		o.builder.Release()
	}
	if o.spare != nil {
		o.spare.Release()
	}
}

// add gathers a message, whose bytes stay as they are until flush.
func (o *output) add(ctx context.Context, row ingest.Row, rec record, seen []witness) error {
	if len(o.rows) > 0 && (len(o.rows) == groupRecords || o.bytes+len(rec.Value) > chunkBytes) {
		if err := o.flush(ctx); err != nil {
			return err
		}
	}
	slot := &o.slab[len(o.records)]
	*slot = rec
	o.rows, o.records = append(o.rows, row), append(o.records, slot)
	o.witnesses = append(o.witnesses, seen...)
	o.bytes += len(rec.Value)
	return nil
}

// problem adds a sample without an image.
func (o *output) problem(ctx context.Context, row ingest.Row, at time.Time, problem string) error {
	if err := o.flush(ctx); err != nil {
		return err
	}
	row.Problem = problem
	if !at.IsZero() {
		row.Time = new(arrow.Timestamp(at.UnixMicro()))
	}
	o.builder.Append(row, nil)
	o.sampled(row.Offset)
	return nil
}

// flush decodes the messages gathered.
func (o *output) flush(ctx context.Context) error {
	if len(o.rows) == 0 {
		return nil
	}
	if o.builder.Len() > 0 && (o.builder.Bytes()+o.bytes > chunkBytes || o.builder.Len() >= chunkRows) {
		if err := o.emit(ctx); err != nil {
			return err
		}
	}
	if o.builder.Len() == 0 { // room for what follows in this answer too: later, all would be copied over
		o.builder.Grow(max(o.bytes, min(o.left, chunkBytes)))
	}
	err := o.decode(ctx)
	o.p.r.source.book.note(o.p.key, o.witnesses)
	clear(o.slab[:len(o.records)])
	o.rows, o.records, o.witnesses, o.bytes = o.rows[:0], o.records[:0], o.witnesses[:0], 0
	return err
}

// decode has the gathered messages decoded: together if the decoder gains from it, those consumed in part alone.
func (o *output) decode(ctx context.Context) error {
	if o.slot == nil && o.expands() {
		slot, err := o.p.r.slots.take(ctx, o.p.r.expandBytes, &o.p.urgent)
		if err != nil {
			return err
		}
		o.slot = slot
		defer func() {
			o.slot = nil
			slot.release()
		}()
	}
	for rows, records := o.rows, o.records; len(rows) > 0; {
		images, err := o.decodeSome(ctx, rows, records)
		if err != nil {
			return o.failed(ctx, rows[0].Offset, err)
		}
		for i, n := range images {
			o.count(rows[i].Offset, n)
		}
		rows, records = rows[len(images):], records[len(images):]
		if o.slot != nil && o.builder.Bytes() > chunkBytes || o.builder.Len() >= chunkRows {
			if err := o.emit(ctx); err != nil {
				return err
			}
		}
	}
	if o.slot != nil && o.builder.Len() > 0 {
		return o.emit(ctx) // the slot stands for what was made
	}
	return nil
}

// expander is a Decoder that knows which messages become more than their own bytes.
type expander interface{ expands(r *record) bool }

func (o *output) expands() bool {
	e, ok := o.p.r.o.Decoder.(expander)
	return ok && slices.ContainsFunc(o.records, e.expands)
}

// decodeSome decodes the first of the messages, one at least, and returns the number of images of each of them.
func (o *output) decodeSome(ctx context.Context, rows []ingest.Row, records []*record) ([]int32, error) {
	if d, ok := o.p.r.o.Decoder.(batchDecoder); ok && len(o.p.partial) == 0 {
		images, err := d.AppendBatch(ctx, o.builder, rows, records)
		if err == nil && (len(images) == 0 || len(images) > len(rows)) {
			err = fmt.Errorf("decoder took %d of %d messages", len(images), len(rows))
		}
		return images, err
	}
	n, err := o.decodeOne(ctx, rows[0], records[0])
	return []int32{n}, err
}

func (o *output) failed(ctx context.Context, offset int64, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &decodeError{fmt.Errorf("decode kafka topic %q partition %d offset %d: %w", o.p.topic, o.p.number, offset, err)}
}

// decodeOne appends one message, without the items of it that are done.
func (o *output) decodeOne(ctx context.Context, row ingest.Row, rec *record) (int32, error) {
	d := o.p.r.o.Decoder
	if !o.p.partial[row.Offset] {
		return d.Append(ctx, o.builder, row, rec)
	}
	if o.spare == nil {
		o.spare = ingest.NewBuilder(o.p.r.o.Mem)
	}
	n, err := d.Append(ctx, o.spare, row, rec)
	if err != nil {
		return n, err
	}
	whole := o.spare.Record()
	defer whole.Release()
	for i := range int(whole.NumRows()) {
		item := rowOf(whole, i)
		if !o.p.r.done.Contains(item.ID) {
			o.builder.Append(item, imageOf(whole, i))
		}
	}
	return n, nil
}

// count takes note of what became of a message.
func (o *output) count(offset int64, images int32) {
	if images == 0 {
		o.p.stats.update(func(s *PartitionStats) { s.Tombstones++ })
		return // passed with the next gap
	}
	o.sampled(offset)
}

// sampled reports the gap before an offset that has samples.
func (o *output) sampled(offset int64) {
	o.gap(offset)
	o.p.reported = offset + 1
}

// gap reports what was met before offset as passed.
func (o *output) gap(offset int64) {
	o.passed = ingest.AppendSpan(o.passed, ingest.Span{Source: o.p.source, Partition: o.p.number, Start: o.p.reported, End: offset})
	o.p.reported = max(o.p.reported, offset)
}

// emit sends what was decoded as one chunk, and blocks until the reader takes it.
func (o *output) emit(ctx context.Context) error {
	c := &chunk{partition: o.p, record: o.builder.Record(), passed: o.passed, next: o.p.reported}
	o.passed = nil
	for _, h := range []*hold{o.hold, o.slot} {
		if h != nil {
			c.holds = append(c.holds, h.share())
		}
	}
	err := o.p.r.send(ctx, c)
	if err != nil {
		c.record.Release()
		c.release()
	}
	return err
}

// rowOf reads a row of a record, without its image.
func rowOf(rec arrow.Record, i int) ingest.Row {
	row := ingest.Row{
		ID: ingest.ID{
			Source:    rec.Column(ingest.ColSource).(*array.String).Value(i),
			Partition: rec.Column(ingest.ColPartition).(*array.Int32).Value(i),
			Offset:    rec.Column(ingest.ColOffset).(*array.Int64).Value(i),
			Item:      rec.Column(ingest.ColItem).(*array.Int32).Value(i),
		},
		Items: rec.Column(ingest.ColItems).(*array.Int32).Value(i),
		Key:   rec.Column(ingest.ColKey).(*array.String).Value(i),
	}
	if labels := rec.Column(ingest.ColLabel).(*array.Int32); labels.IsValid(i) {
		row.Label = new(labels.Value(i))
	}
	if times := rec.Column(ingest.ColTime).(*array.Timestamp); times.IsValid(i) {
		row.Time = new(times.Value(i))
	}
	if problems := rec.Column(ingest.ColProblem).(*array.String); problems.IsValid(i) {
		row.Problem = problems.Value(i)
	}
	return row
}

// imageOf returns the image of a row, which is the record's memory.
func imageOf(rec arrow.Record, i int) []byte {
	return rec.Column(ingest.ColImage).(*array.Binary).Value(i)
}
