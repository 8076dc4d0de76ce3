package loader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"golang.org/x/sync/errgroup"
)

// Stream loads a source without an end, in the source's own order.
type Stream struct {
	src    ingest.Stream
	opts   Options
	budget *budget
	meter  meter
}

// NewStream makes a loader of src. Of the options those of order and Epochs do not apply, nor does Fetchers: how many
// reads go on at a time is the source's matter. A message of several images must come in one record: that is how the loader
// knows when all of it is consumed.
func NewStream(src ingest.Stream, opts Options) *Stream {
	opts = opts.withDefaults()
	return &Stream{src: src, opts: opts, budget: newBudget(opts.MemoryLimit)}
}

// Stats may be called at any time, also while Run works.
func (l *Stream) Stats() Stats { return l.meter.stats(l.budget) }

// Run sends the samples to out in the source's order, beginning after Options.Start, and closes out when it returns: nil
// when the source ends (io.EOF), the context's error when that is cancelled, else the source's. After an error the
// samples read before it are sent first.
//
// Records are shared, not copied: the bytes of one are given back when its last sample is released. The first record, and
// one larger than all before it, may stand above the memory limit, since a source cannot be asked for its size.
func (l *Stream) Run(ctx context.Context, out chan<- Sample) (err error) {
	defer close(out)
	if err := l.opts.validate(); err != nil {
		return err
	}
	reader, err := l.src.Open(ctx, l.opts.Start.Progress)
	if err != nil {
		return err
	}
	defer func() {
		if closing := reader.Close(); err == nil && closing != nil {
			err = fmt.Errorf("close stream: %w", closing)
		}
	}()
	err = l.run(ctx, reader, out)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// fetched is a record of a stream and how often its bytes are still needed.
type fetched struct {
	record arrow.Record
	bytes  int64
	left   atomic.Int64
	budget *budget
}

// release counts n samples of the record as done.
func (f *fetched) release(n int64) {
	if f.left.Add(-n) == 0 {
		f.record.Release()
		f.budget.hold(-f.bytes)
	}
}

func (l *Stream) run(ctx context.Context, reader ingest.Reader, out chan<- Sample) error {
	group, ctx := errgroup.WithContext(ctx)
	defer l.budget.wakes(ctx)()
	records := make(chan *fetched, 1)
	var source error // of the source, read after records is closed
	group.Go(func() error {
		defer close(records)
		source = l.fetch(ctx, reader, records)
		return nil
	})
	group.Go(func() error {
		err := l.hand(ctx, records, out)
		for f := range records { // until fetch has ended; none are left unless hand failed
			f.release(f.left.Load())
		}
		return cmp.Or(err, source)
	})
	return group.Wait()
}

// fetch reads ahead as the budget allows, nil at the stream's end.
func (l *Stream) fetch(ctx context.Context, reader ingest.Reader, to chan<- *fetched) error {
	var largest int64
	for {
		if err := l.reserve(ctx, largest); err != nil {
			return err
		}
		start := time.Now()
		rec, err := reader.Next(ctx)
		since(&l.meter.source, start)
		if err != nil {
			l.budget.hold(-largest)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		f := &fetched{record: rec, bytes: imageBytes(rec), budget: l.budget}
		f.left.Store(rec.NumRows())
		l.budget.hold(f.bytes - largest)
		largest = max(largest, f.bytes)
		if rec.NumRows() == 0 {
			rec.Release()
			continue
		}
		if err := send(ctx, to, f); err != nil {
			f.release(f.left.Load())
			return err
		}
	}
}

func (l *Stream) reserve(ctx context.Context, bytes int64) error {
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	err := l.budget.wait(ctx, &l.meter.budgetWait, func() bool { return l.budget.fits(bytes) })
	if err == nil {
		l.budget.held += bytes
	}
	return err
}

// hand sends the samples of all records. It is the only user of the records it was given until it returns.
func (l *Stream) hand(ctx context.Context, from <-chan *fetched, out chan<- Sample) error {
	position := l.opts.Start.Position
	for f := range from {
		var items message
		for row := range int(f.record.NumRows()) {
			s := Sample{Record: f.record, Row: row, Position: position, items: items.at(f.record, row)}
			s.release = func() { f.release(1) }
			if err := deliver(ctx, out, s, int64(len(s.Image())), &l.meter); err != nil {
				f.release(f.record.NumRows() - int64(row) - 1)
				return err
			}
			position++
		}
	}
	return nil
}

// message is the rows of a record that are images of one message; a source puts all of one message into one record.
type message struct {
	end   int // row behind the last
	items int32
}

// at returns the number of images of the message that row, not before the last one asked for, belongs to.
func (m *message) at(rec arrow.Record, row int) int32 {
	if row < m.end {
		return m.items
	}
	id := (&Sample{Record: rec, Row: row}).ID()
	for m.end = row; m.end < int(rec.NumRows()); m.end++ {
		next := (&Sample{Record: rec, Row: m.end}).ID()
		if next.Source != id.Source || next.Partition != id.Partition || next.Offset != id.Offset {
			break
		}
		m.items = next.Item + 1
	}
	return m.items
}
