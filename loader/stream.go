package loader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
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
// reads go on at a time is the source's matter.
func NewStream(src ingest.Stream, opts Options) *Stream {
	opts = opts.withDefaults()
	return &Stream{src: src, opts: opts, budget: newBudget(opts.MemoryLimit)}
}

// Stats may be called at any time, also while Run works.
func (l *Stream) Stats() Stats {
	s := l.meter.stats(l.budget)
	s.Fetchers = 1
	return s
}

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
	passed []ingest.Span // met before the record's samples
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

func (l *Stream) run(ctx context.Context, reader ingest.StreamReader, out chan<- Sample) error {
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
func (l *Stream) fetch(ctx context.Context, reader ingest.StreamReader, to chan<- *fetched) error {
	var largest int64
	var passed []ingest.Span // with no sample after them yet
	for {
		if err := l.reserve(ctx, largest); err != nil {
			return err
		}
		l.meter.reading.Begin()
		rec, err := reader.Next(ctx)
		l.meter.reading.End()
		if err != nil {
			l.budget.hold(-largest)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		for _, span := range reader.Passed() {
			passed = ingest.AppendSpan(passed, span)
		}
		f := &fetched{record: rec, passed: passed, bytes: imageBytes(rec), budget: l.budget}
		f.left.Store(rec.NumRows())
		l.budget.hold(f.bytes - largest)
		largest = max(largest, f.bytes)
		if rec.NumRows() == 0 {
			rec.Release()
			continue
		}
		passed = nil
		l.budget.read(int(rec.NumRows()))
		l.meter.aheadWait.Begin()
		err = send(ctx, to, f)
		l.meter.aheadWait.End()
		if err != nil {
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
	l.meter.running.Begin()
	defer l.meter.running.End()
	position := l.opts.Start.Position
	var passed []ingest.Span
	var dropped []duplicate
	for {
		l.meter.sourceWait.Begin()
		f, ok := <-from
		l.meter.sourceWait.End()
		if !ok {
			return nil
		}
		passed = append(passed, f.passed...)
		for row := range int(f.record.NumRows()) {
			l.budget.read(-1)
			s := Sample{Record: f.record, Row: row, Position: position, items: itemsOf(f.record, row)}
			if l.opts.Window != nil && !l.opts.Window.admit(&s, position) {
				dropped = append(dropped, duplicate{s.ID(), s.items})
				if l.opts.Repeated != nil {
					l.opts.Repeated(s.ID())
				}
				f.release(1)
				continue
			}
			s.Group = s.group(l.opts.GroupBy)
			s.passed, s.dropped = passed, dropped
			passed, dropped = nil, nil
			s.release = func() { f.release(1) }
			if err := deliver(ctx, out, s, int64(len(s.Image())), &l.meter); err != nil {
				f.release(f.record.NumRows() - int64(row) - 1)
				return err
			}
			position++
		}
	}
}

// itemsOf returns the number of images of the message that a row belongs to.
func itemsOf(rec arrow.Record, row int) int32 {
	return rec.Column(ingest.ColItems).(*array.Int32).Value(row)
}
