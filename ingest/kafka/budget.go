package kafka

import (
	"context"
	"sync"
	"sync/atomic"
)

// budget hands out bytes of memory, first come first served, except that an urgent holder is never made to wait: the
// merge needs what that one brings before it can give anything back.
type budget struct {
	limit   int64
	mu      sync.Mutex
	held    int64
	waiting []*waiter
}

type waiter struct {
	bytes   int64
	urgent  *atomic.Bool
	granted chan struct{}
}

func newBudget(limit int64) *budget { return &budget{limit: limit} }

// acquire blocks until bytes are free; a request above the limit waits until nothing is held.
func (b *budget) acquire(ctx context.Context, bytes int64, urgent *atomic.Bool) error {
	b.mu.Lock()
	if len(b.waiting) == 0 && b.fits(bytes) || urgent.Load() {
		b.held += bytes
		b.mu.Unlock()
		return nil
	}
	w := &waiter{bytes, urgent, make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		b.abandon(w)
		return ctx.Err()
	}
}

// fits says whether bytes may be held on top. It is called with mu held.
func (b *budget) fits(bytes int64) bool { return b.held == 0 || b.held+bytes <= b.limit }

// abandon takes w out of the queue, or gives back what it was granted meanwhile.
func (b *budget) abandon(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.waiting {
		if b.waiting[i] == w {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.grant()
			return
		}
	}
	b.held -= w.bytes
	b.grant()
}

func (b *budget) release(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= bytes
	b.grant()
}

// hurry lets waiters in that have become urgent.
func (b *budget) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grant()
}

// grant lets in whom there is room for, in order, and the urgent ones anyhow. It is called with mu held.
func (b *budget) grant() {
	kept, blocked := b.waiting[:0], false
	for _, w := range b.waiting {
		if w.urgent.Load() || !blocked && b.fits(w.bytes) {
			b.held += w.bytes
			close(w.granted)
			continue
		}
		blocked = true
		kept = append(kept, w)
	}
	clear(b.waiting[len(kept):])
	b.waiting = kept
}

// hold is bytes of a budget that several users share; the last release gives them back.
type hold struct {
	from  *budget
	bytes int64
	users atomic.Int64
}

// take acquires bytes for one user.
func (b *budget) take(ctx context.Context, bytes int64, urgent *atomic.Bool) (*hold, error) {
	if err := b.acquire(ctx, bytes, urgent); err != nil {
		return nil, err
	}
	h := &hold{from: b, bytes: bytes}
	h.users.Store(1)
	return h, nil
}

func (h *hold) share() *hold {
	h.users.Add(1)
	return h
}

func (h *hold) release() {
	if h.users.Add(-1) == 0 {
		h.from.release(h.bytes)
	}
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}
