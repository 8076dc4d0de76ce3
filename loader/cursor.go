package loader

import (
	"context"
	"errors"
	"fmt"
	"io"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// origin is a bounded source with its manifest, and the accounts that reading it goes on.
type origin struct {
	src      ingest.Bounded
	manifest *ingest.Manifest
	mem      memory.Allocator
	budget   *budget
	meter    *meter
}

// one reads a sample by itself. The record has one row and is the caller's.
func (o *origin) one(ctx context.Context, at slot) (arrow.Record, error) {
	c := o.cursor(at.partition)
	rec, err := c.sample(ctx, at.offset)
	return rec, errors.Join(err, c.close(err))
}

func (o *origin) cursor(partition int32) *cursor { return &cursor{origin: o, partition: partition} }

// wrap names the sample in an error of the source.
func (o *origin) wrap(at slot, err error) error {
	name := fmt.Sprintf("partition %d", at.partition)
	if p, lost := o.manifest.Partition(at.partition); lost == nil {
		name = p.Name
	}
	return fmt.Errorf("read sample %d of %s: %w", at.offset, name, err)
}

// cursor reads one partition forwards, sample by sample. It opens it when it is first asked.
type cursor struct {
	*origin
	partition int32
	reader    ingest.Reader
	next      int64        // offset of the sample that comes next
	record    arrow.Record // the one being cut up, or nil
	row       int
	staged    int64
}

// sample returns the sample at offset, not before the last one asked for, as a record of one row that is the caller's.
// What lies between is passed over.
func (c *cursor) sample(ctx context.Context, offset int64) (arrow.Record, error) {
	rec, err := c.advance(ctx, offset)
	if err == nil {
		return rec, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, c.wrap(slot{c.partition, offset}, err)
}

func (c *cursor) advance(ctx context.Context, offset int64) (arrow.Record, error) {
	if err := c.open(ctx, offset); err != nil {
		return nil, err
	}
	for {
		if err := c.fill(ctx); err != nil {
			return nil, err
		}
		passed := min(offset-c.next, c.record.NumRows()-int64(c.row))
		c.row += int(passed)
		if c.next += passed; c.next == offset && int64(c.row) < c.record.NumRows() {
			return c.cut()
		}
		c.drop()
	}
}

func (c *cursor) open(ctx context.Context, offset int64) (err error) {
	if c.reader != nil {
		return nil
	}
	c.meter.reading.Begin()
	defer c.meter.reading.End()
	c.next = offset
	c.reader, err = c.src.Read(ctx, c.partition, offset)
	return err
}

// fill has a record with rows left at hand.
func (c *cursor) fill(ctx context.Context) (err error) {
	c.meter.reading.Begin()
	defer c.meter.reading.End()
	for c.record == nil {
		if c.record, err = c.reader.Next(ctx); errors.Is(err, io.EOF) {
			return fmt.Errorf("the file ends at sample %d, its manifest lists more: %w", c.next, ingest.ErrChanged)
		}
		if err != nil {
			return err
		}
		if c.record.NumRows() == 0 {
			c.drop()
			continue
		}
		if c.record.NumRows() > 1 {
			c.staged = imageBytes(c.record)
			c.budget.stage(c.staged)
		}
	}
	return nil
}

// cut takes the row at hand out of its record. A row of several is copied: kept in a shuffle buffer, it would hold on to
// all the others.
func (c *cursor) cut() (arrow.Record, error) {
	if err := c.verify(); err != nil {
		return nil, err
	}
	c.next++
	if c.record.NumRows() == 1 {
		rec := c.record
		c.record, c.row = nil, 0
		return rec, nil
	}
	rec := copyRow(c.mem, c.record, c.row)
	if c.row++; int64(c.row) == c.record.NumRows() {
		c.drop()
	}
	return rec, nil
}

// verify checks that the source returned what was asked for: the promise of each sample once an epoch rests on it.
func (c *cursor) verify() error {
	s := Sample{Record: c.record, Row: c.row}
	if partition, offset := s.place(); partition != c.partition || offset != c.next {
		return fmt.Errorf("the source returned sample %d of partition %d instead", offset, partition)
	}
	return nil
}

func (c *cursor) drop() {
	if c.record == nil {
		return
	}
	c.record.Release()
	c.record, c.row = nil, 0
	if c.staged != 0 {
		c.budget.stage(-c.staged)
		c.staged = 0
	}
}

// close releases what the cursor holds. An error of closing counts only when nothing else went wrong.
func (c *cursor) close(before error) error {
	c.drop()
	if c.reader == nil {
		return nil
	}
	err := c.reader.Close()
	c.reader = nil
	if err == nil || before != nil {
		return nil
	}
	return c.wrap(slot{c.partition, c.next}, fmt.Errorf("close: %w", err))
}

// imageBytes returns the encoded bytes in a record.
func imageBytes(rec arrow.Record) int64 {
	col := rec.Column(ingest.ColImage).(*array.Binary)
	if col.Len() == 0 {
		return 0
	}
	return int64(len(col.ValueBytes()))
}

// copyRow copies a row of an ingest.Schema record into one of its own.
func copyRow(mem memory.Allocator, rec arrow.Record, row int) arrow.Record {
	s := Sample{Record: rec, Row: row}
	r := ingest.Row{ID: s.ID(), Items: itemsOf(rec, row), Key: s.Key(), Problem: s.Problem()}
	if label, ok := s.Label(); ok {
		r.Label = &label
	}
	if micros, ok := s.Time(); ok {
		when := arrow.Timestamp(micros)
		r.Time = &when
	}
	b := ingest.NewBuilder(mem)
	defer b.Release()
	b.Append(r, s.Image())
	return b.Record()
}
