package loader

import (
	"context"

	"mocostream/ingest"

	"golang.org/x/sync/errgroup"
)

// Sequence loads a source with an end, for Options.Epochs passes, and then one without: a backfill, then what comes in.
type Sequence struct {
	bounded *Bounded
	src     ingest.Stream
	opts    Options
	stream  *Stream
}

// NewSequence makes a loader of first and then of second, with the same options; Options.Epochs must be at least 1.
func NewSequence(first ingest.Bounded, second ingest.Stream, opts Options) *Sequence {
	opts.Epochs = max(opts.Epochs, 1)
	return &Sequence{bounded: NewBounded(first, opts), src: second, opts: opts, stream: NewStream(second, opts)}
}

// Stats may be called at any time; it is of both parts together.
func (l *Sequence) Stats() Stats {
	a, b := l.bounded.Stats(), l.stream.Stats()
	a.Samples += b.Samples
	a.Bytes += b.Bytes
	a.Held += b.Held
	a.BudgetWait += b.BudgetWait
	a.AheadWait += b.AheadWait
	a.SourceWait += b.SourceWait
	a.ConsumerWait += b.ConsumerWait
	a.Running += b.Running
	a.Source += b.Source
	a.Ready += b.Ready
	a.Rereads += b.Rereads
	return a
}

// SetFetchers is Bounded.SetFetchers of the first part.
func (l *Sequence) SetFetchers(n int) { l.bounded.SetFetchers(n) }

// Run is Bounded.Run and then Stream.Run. Positions count on; what the first part consumed stays in the token.
func (l *Sequence) Run(ctx context.Context, out chan<- Sample) error {
	position := l.opts.Start.Position
	inner := make(chan Sample)
	group, first := errgroup.WithContext(ctx)
	group.Go(func() error { return l.bounded.Run(first, inner) })
	group.Go(func() error {
		var failed error
		for s := range inner {
			if failed == nil {
				position = s.Position + 1
				failed = send(first, out, s)
			}
			if failed != nil {
				s.Release()
			}
		}
		return failed
	})
	if err := group.Wait(); err != nil {
		close(out)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	l.stream.opts.Start.Position = position
	return l.stream.Run(ctx, out)
}
