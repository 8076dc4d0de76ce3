package control

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCalls()
		broken := errors.New("disk full")
		owner := make(chan error)
		go func() { f := <-c.C(); owner <- f(t.Context()) }()
		asked := make(chan error)
		go func() { asked <- c.Do(t.Context(), func(context.Context) error { return broken }) }()
		if a, b := <-owner, <-asked; a != broken || b != broken {
			t.Errorf("the owner got %v, who asked %v", a, b)
		}
	})
}

func TestCallsOfAnEndedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCalls()
		asked := make(chan error)
		go func() {
			asked <- c.Do(t.Context(), func(context.Context) error { t.Error("it ran"); return nil })
		}()
		synctest.Wait()
		c.End()
		c.End()
		if err := <-asked; !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	})
}

// Who gives up before it is their turn is passed over; who gives up later no longer hears the result.
func TestCallsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCalls()
		ctx, cancel := context.WithCancel(t.Context())
		asked := make(chan error)
		ask := func(ctx context.Context) { asked <- c.Do(ctx, func(context.Context) error { return nil }) }
		go ask(ctx)
		synctest.Wait()
		cancel()
		if err := <-asked; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		go ask(ctx)
		f := <-c.C()
		cancel()
		if err := <-asked; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := f(t.Context()); err != nil { // and the owner is not held up
			t.Error(err)
		}
	})
}
