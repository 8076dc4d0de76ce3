package flow

import (
	"sync"
	"time"
)

const (
	span  = time.Minute     // over which a Window looks back
	every = 2 * time.Second // at least between two totals that it keeps
)

// Window knows the figures of about the last minute. Its methods may be called concurrently, as often as one likes.
type Window struct {
	read func() Totals

	mu   sync.Mutex
	kept []Totals // the oldest is the last one that is span old, if any is
}

// NewWindow makes a window over what read returns, which begins now.
func NewWindow(read func() Totals) *Window { return &Window{read: read, kept: []Totals{read()}} }

// Figures are those of the last minute, or since the window's beginning where that is later. Whoever wants a whole minute
// asks every few seconds: the window looks at nothing by itself, and its span is up to a minute longer than the time
// since it was asked last.
func (w *Window) Figures() Figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.read()
	for len(w.kept) > 1 && now.At.Sub(w.kept[1].At) >= span {
		w.kept = w.kept[1:]
	}
	if now.At.Sub(w.kept[len(w.kept)-1].At) >= every {
		w.kept = append(w.kept, now)
	}
	return now.Since(w.kept[0])
}
