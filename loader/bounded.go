package loader

import (
	"context"
	"errors"
	"fmt"
	"io"

	"mocostream/ingest"
	"mocostream/internal/flow"

	"golang.org/x/sync/errgroup"
)

// Bounded loads a source with an end, epoch after epoch.
type Bounded struct {
	src      ingest.Bounded
	opts     Options
	budget   *budget
	meter    meter
	fetchers *flow.Gate
}

// NewBounded makes a loader of src. The source and its manifest stay the caller's to close, after Run has returned.
func NewBounded(src ingest.Bounded, opts Options) *Bounded {
	opts = opts.withDefaults()
	return &Bounded{src: src, opts: opts, budget: newBudget(opts.MemoryLimit), fetchers: flow.NewGate(opts.Fetchers)}
}

// Stats may be called at any time, also while Run works.
func (l *Bounded) Stats() Stats {
	s := l.meter.stats(l.budget)
	s.Fetchers = l.fetchers.Limit()
	s.Room = l.opts.room(s.Fetchers)
	return s
}

// SetFetchers changes how many reads go on at a time, 1 to MaxFetchers, at any time, also while Run works. It changes
// nothing about the samples and their order.
func (l *Bounded) SetFetchers(n int) {
	l.fetchers.Set(min(n, MaxFetchers))
	l.budget.hold(0) // wakes who waits for room
}

// Run sends the samples to out in training order, beginning after Options.Start, and closes out when it returns. It
// returns nil after the last sample of Options.Epochs, the context's error when that is cancelled, and else the first
// error of the source, which names the sample and comes at that sample's turn: everything before it is sent.
//
// Run is called once. Everything it started has ended when it returns. Samples that out still holds are the receiver's
// to release.
func (l *Bounded) Run(ctx context.Context, out chan<- Sample) error {
	defer close(out)
	if err := l.opts.validate(); err != nil {
		return err
	}
	manifest, err := l.src.Manifest(ctx)
	if err != nil {
		return err
	}
	start, err := begin(manifest, l.opts.Start.Progress.Bounded)
	if err != nil {
		return err
	}
	if l.opts.Epochs > 0 && start.Epoch >= l.opts.Epochs {
		return nil
	}
	r, err := l.prepare(manifest, start)
	if err != nil {
		return err
	}
	defer r.shelf.clear()
	err = r.run(ctx, l.fetchers, out)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// begin checks where to begin and writes the end of an epoch as the start of the next.
func begin(m *ingest.Manifest, at *ingest.Position) (ingest.Position, error) {
	if m.Samples() == 0 {
		return ingest.Position{}, errors.New("load samples: the source holds none; check ingest.dir, and the files' kinds")
	}
	if at == nil {
		return ingest.Position{Source: m.Hash()}, nil
	}
	if at.Source != m.Hash() {
		return ingest.Position{}, &SourceChangedError{Checkpoint: at.Source, Source: m.Hash()}
	}
	if at.Epoch < 0 || at.Index < 0 || at.Index > m.Samples() {
		return ingest.Position{}, fmt.Errorf("resume at epoch %d, sample %d: the source has %d samples an epoch",
			at.Epoch, at.Index, m.Samples())
	}
	if at.Index == m.Samples() {
		return ingest.Position{Source: at.Source, Epoch: at.Epoch + 1}, nil
	}
	return *at, nil
}

// SourceChangedError says that a checkpoint was made with another list of files than the source has.
type SourceChangedError struct {
	Checkpoint, Source string // hashes of the manifests
}

func (e *SourceChangedError) Error() string {
	return fmt.Sprintf("resume: the checkpoint was trained on manifest %.12s, but the source has %.12s, and an epoch of one "+
		"cannot go on in the other; give the source as it was, or begin a new run with train.init_from", e.Checkpoint, e.Source)
}

// boundedRun is one Run of a Bounded.
type boundedRun struct {
	order    *order
	reading  *reading
	shelf    *shelf
	maxBytes int64
	groupBy  ingest.GroupBy
	position uint64
	meter    *meter
}

func (l *Bounded) prepare(m *ingest.Manifest, start ingest.Position) (*boundedRun, error) {
	p, err := newPlan(m, l.opts)
	if err != nil {
		return nil, err
	}
	r := &boundedRun{maxBytes: l.opts.MaxBytes, groupBy: l.opts.GroupBy, position: l.opts.Start.Position, meter: &l.meter}
	if r.order, err = newOrder(p, l.opts.Epochs, start); err != nil {
		return nil, err
	}
	ahead := *p // used by another goroutine
	if r.reading, err = newReading(&ahead, r.order); err != nil {
		return nil, err
	}
	origin := &origin{src: l.src, manifest: m, mem: l.opts.Allocator, budget: l.budget, meter: &l.meter}
	r.shelf = newShelf(origin, func() int64 { return int64(l.opts.room(l.fetchers.Limit())) })
	r.shelf.done = r.order.mixer.reads - int64(len(r.order.mixer.held))
	if !p.single {
		r.shelf.largest, err = guess(m, l.opts.MaxBytes)
	}
	return r, err
}

func (r *boundedRun) run(ctx context.Context, fetchers *flow.Gate, out chan<- Sample) error {
	group, ctx := errgroup.WithContext(ctx)
	defer r.shelf.wakes(ctx)()
	defer context.AfterFunc(ctx, fetchers.Close)()
	group.Go(func() error { return r.readAll(ctx, group, fetchers) })
	group.Go(func() error { return r.hand(ctx, out) })
	return group.Wait()
}

// readAll has all samples fetched in the order of reading.
func (r *boundedRun) readAll(ctx context.Context, group *errgroup.Group, fetchers *flow.Gate) error {
	if r.reading.walk.plan.single {
		p := newPool(group, r.shelf, fetchers)
		defer p.close()
		return r.readBlocks(ctx, p)
	}
	return r.readBlocks(ctx, newShards(group, r.shelf, fetchers))
}

func (r *boundedRun) readBlocks(ctx context.Context, f fetcher) error {
	for {
		if err := r.readBlock(ctx, f); err != nil {
			return err
		}
		if err := r.reading.next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (r *boundedRun) readBlock(ctx context.Context, f fetcher) error {
	defer f.end()
	for n, ok := r.reading.block(); ok; n, ok = r.reading.block() {
		bytes, err := r.reading.walk.plan.reserve(n.slot, r.maxBytes)
		if err != nil {
			return err
		}
		e := &entry{slot: n.slot, read: n.read, bytes: bytes}
		admitted, err := r.shelf.admit(ctx, e)
		if err != nil {
			return err
		}
		if !admitted {
			continue
		}
		if err := f.fetch(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// hand sends the samples in training order.
func (r *boundedRun) hand(ctx context.Context, out chan<- Sample) error {
	r.meter.running.Begin()
	defer r.meter.running.End()
	for {
		d, err := r.order.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, err := r.shelf.take(ctx, d)
		if err != nil {
			return err
		}
		s := Sample{Record: e.record, Epoch: d.epoch, After: d.after, Position: r.position, items: 1}
		s.Group = s.group(r.groupBy)
		s.release = func() {
			e.record.Release()
			r.shelf.hold(-e.bytes)
		}
		if err := deliver(ctx, out, s, e.bytes, r.meter); err != nil {
			return err
		}
		r.position++
	}
}

// deliver sends a sample, or releases it when ctx is cancelled first.
func deliver(ctx context.Context, out chan<- Sample, s Sample, bytes int64, m *meter) error {
	m.consumerWait.Begin()
	err := send(ctx, out, s)
	m.consumerWait.End()
	if err != nil {
		s.Release()
		return err
	}
	m.handedOut(bytes)
	return nil
}
