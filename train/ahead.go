package train

import (
	"context"
	"maps"
	"slices"

	"mocostream/augment"

	"github.com/apache/arrow/go/v17/arrow"
)

// copied is what of a batch is on the devices before its step.
type copied struct {
	record arrow.Record   // the batch's
	views  map[string]any // by argument; nil: the copy failed, and Step is to try again
}

// CopiesAhead says whether Ahead is of use: whether views are copied to a device, which computes meanwhile. The Go backend
// computes with the cores that would copy.
func (t *Trainer) CopiesAhead() bool { return t.backend.Layout() != LayoutCHWN }

// Ahead passes batches on, in their order, each with its views copied to the devices while the step of the batch before it
// runs: Step takes these copies. It holds one batch at most, and closes out after the last one. When ctx ends it returns,
// out stays open, and the batch in hand is released. Only one Ahead may run on a trainer.
func (t *Trainer) Ahead(ctx context.Context, batches <-chan augment.Batch, out chan<- augment.Batch) {
	for {
		var b augment.Batch
		var ok bool
		select {
		case b, ok = <-batches:
		case <-ctx.Done():
			return
		}
		if !ok {
			close(out)
			return
		}
		select {
		case t.ahead <- copied{b.Record, t.copyViews(&b)}:
		case <-ctx.Done(): // nobody steps any more
			b.Release()
			return
		}
		select {
		case out <- b:
		case <-ctx.Done():
			b.Release()
			return
		}
	}
}

// copyViews brings a batch's views to the devices; nil if that fails.
func (t *Trainer) copyViews(b *augment.Batch) map[string]any {
	if t.fits(b) != nil {
		return nil
	}
	views := map[string]any{}
	for _, a := range t.arguments() {
		pixels := map[string]func() []byte{queryArgument: b.Query, keyArgument: b.Key}[a.name]
		if pixels == nil {
			continue
		}
		view, err := t.devices.place(a.shape, pixels())
		if err != nil {
			discardViews(views)
			return nil
		}
		views[a.name] = view
	}
	return views
}

// copiedViews are the views of b that are on the devices already; nil if they are not.
func (t *Trainer) copiedViews(b *augment.Batch) map[string]any {
	select {
	case c := <-t.ahead:
		if c.record == b.Record {
			return c.views
		}
		discardViews(c.views)
	default:
	}
	return nil
}

// dropAhead frees the copies that no step took.
func (t *Trainer) dropAhead() {
	for {
		select {
		case c := <-t.ahead:
			discardViews(c.views)
		default:
			return
		}
	}
}

func discardViews(views map[string]any) { free(slices.Collect(maps.Values(views))) }
