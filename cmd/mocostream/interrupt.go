package main

import (
	"context"
	"errors"
)

// errInterrupted is what a command without anything to save ends with.
var errInterrupted = errors.New("interrupted")

// interruptible does work that has nothing to save: its context ends at the first SIGINT or SIGTERM.
func (t *terminal) interruptible(do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	go func() {
		select {
		case <-t.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := do(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	return err
}
