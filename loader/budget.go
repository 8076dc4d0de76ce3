package loader

import (
	"context"
	"sync"

	"mocostream/internal/flow"
)

// budget counts encoded bytes against a limit. Its mutex also guards the shelf, since what may be read depends on both.
type budget struct {
	mu      sync.Mutex
	changed sync.Cond // something was given back, arrived or failed; on mu
	limit   int64
	held    int64 // of samples: reserved, read or handed out
	staged  int64 // of records that hold many samples and are being cut up
	ready   int   // samples that are read and not handed out
}

func newBudget(limit int64) *budget {
	b := &budget{limit: limit}
	b.changed.L = &b.mu
	return b
}

// fits says whether more bytes may be held. Whoever is alone always fits: without that one sample larger than the limit
// would stop everything. mu is held.
func (b *budget) fits(bytes int64) bool {
	return b.held == 0 || bytes <= b.limit-b.held-b.staged
}

// grows says whether a sample that reserved too little may hold more. mu is held.
func (b *budget) grows(reserved, more int64) bool {
	return more <= 0 || b.held == reserved || more <= b.limit-b.held-b.staged
}

// hold counts bytes without asking, or gives them back when negative.
func (b *budget) hold(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held += bytes
	b.changed.Broadcast()
}

// read counts samples that are in memory and not handed out.
func (b *budget) read(samples int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready += samples
}

// stage counts the bytes of a record that is cut up.
func (b *budget) stage(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.staged += bytes
	b.changed.Broadcast()
}

// wakes lets waits end when ctx does. The returned function undoes that.
func (b *budget) wakes(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed.Broadcast()
	})
}

// wait blocks until ok or until ctx, for which wakes is on, is cancelled. waited runs meanwhile. mu is held.
func (b *budget) wait(ctx context.Context, waited *flow.Clock, ok func() bool) error {
	if ctx.Err() == nil && ok() {
		return nil
	}
	waited.Begin()
	defer waited.End()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ok() {
			return nil
		}
		b.changed.Wait()
	}
}
