package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"mocostream/internal/synth"
)

// interrupted is a terminal at which Ctrl-C was pressed.
func interrupted(t *testing.T) *terminal {
	stop := make(chan struct{})
	close(stop)
	return &terminal{out: t.Output(), err: t.Output(), ctx: t.Context(), stop: stop}
}

func TestInterruptible(t *testing.T) {
	err := interrupted(t).interruptible(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, errInterrupted) {
		t.Errorf("error %v", err)
	}
	own := errors.New("disk on fire")
	if err := interrupted(t).interruptible(func(context.Context) error { return own }); err != own {
		t.Errorf("error %v in place of the work's own", err)
	}
	term := &terminal{ctx: t.Context(), stop: make(chan struct{})}
	if err := term.interruptible(func(ctx context.Context) error { return ctx.Err() }); err != nil {
		t.Errorf("error %v of work that nobody stopped", err)
	}
}

// Each of these would go on for an hour.
func TestCommandsAreInterruptible(t *testing.T) {
	dir := images(t, 6, 1)
	for name, run := range map[string]func(*terminal) error{
		"loader": benchLoaderCommand{Data: dir, Seconds: 3600, Size: 16, Recipe: "v2", Batch: 2}.Run,
		"decode": benchDecodeCommand{Data: dir, Seconds: 3600}.Run,
		"step": benchStepCommand{
			Arch: "resnet10", Width: 4, Stem: "cifar", Size: 16, Batch: 8, K: 16, BNGroups: 2, Accumulate: 1, Steps: 1_000_000, Devices: 1, Backend: "go", Precision: "f32",
		}.Run,
		"synth": synthCommand{Out: filepath.Join(t.TempDir(), "set"), Classes: 2, Images: 10_000_000, Size: synth.MinSize}.Run,
	} {
		if err := run(interrupted(t)); !errors.Is(err, errInterrupted) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
