package control

import (
	"context"
	"errors"
	"sync"
)

// ErrEnded says that the run ended before it did what it was asked.
var ErrEnded = errors.New("the run has ended")

// Calls carries functions to the goroutine that owns what they touch: the training loop, which takes them from C between
// steps. Its methods may be called concurrently.
type Calls struct {
	calls chan func(ctx context.Context) error
	ended chan struct{}
	once  sync.Once
}

// NewCalls makes Calls that wait for a receiver.
func NewCalls() *Calls {
	return &Calls{calls: make(chan func(ctx context.Context) error), ended: make(chan struct{})}
}

// C is where the owner receives. It runs each function once, with its own context, and gives up at an error.
func (c *Calls) C() <-chan func(ctx context.Context) error { return c.calls }

// Do has f run by the owner and returns its error, which the owner gets as well. It waits for the step in hand. When ctx
// ends first it returns its error: f will not run if it has not begun. ErrEnded after End.
func (c *Calls) Do(ctx context.Context, f func(ctx context.Context) error) error {
	result := make(chan error, 1)
	call := func(ctx context.Context) error {
		err := f(ctx)
		result <- err
		return err
	}
	select {
	case c.calls <- call:
	case <-c.ended:
		return ErrEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// End says that the owner receives no more: who waits gets ErrEnded. To end again is a no-op.
func (c *Calls) End() { c.once.Do(func() { close(c.ended) }) }
