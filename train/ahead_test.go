package train

import (
	"context"
	"errors"
	"testing"

	"mocostream/augment"
)

// Copies made ahead are those that the step would make: with them a run ends in the same bits.
func TestAheadChangesNothing(t *testing.T) {
	in := input{images: 10}
	for mechanism, o := range mechanisms(t, in) {
		t.Run(string(mechanism), func(t *testing.T) {
			run := func(ahead bool) *Checkpoint {
				trainer := newTrainer(t, o)
				loop := NewLoop(trainer, &memoryStore{}, LoopOptions{Steps: 5}, Hooks{}, nil, "")
				taken := 0
				if ahead {
					loop.ahead = trainer.Ahead
					loop.hooks.Batch = func(*augment.Batch) error {
						taken += len(trainer.ahead)
						return nil
					}
				}
				if _, err := loop.Run(t.Context(), in.open(t)); err != nil {
					t.Fatal(err)
				}
				if ahead && taken < 5 {
					t.Errorf("%d copies were there at 5 steps", taken)
				}
				return checkpointOf(t, trainer)
			}
			sameState(t, "with copies made ahead", run(true), run(false))
		})
	}
}

// A run that ends early leaves no batch unreleased, which the input checks, and no copy behind.
func TestAheadEnds(t *testing.T) {
	for name, end := range map[string]func(*Loop, chan struct{}, context.CancelFunc){
		"stopped":   func(_ *Loop, stop chan struct{}, _ context.CancelFunc) { close(stop) },
		"cancelled": func(_ *Loop, _ chan struct{}, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			trainer, stop := newTrainer(t, tiny()), make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			loop := NewLoop(trainer, &memoryStore{}, LoopOptions{Stop: stop}, Hooks{}, nil, "")
			loop.ahead = trainer.Ahead
			loop.hooks.Step = func(r StepResult) error {
				if r.Step == 3 {
					end(loop, stop, cancel)
				}
				return nil
			}
			s, err := loop.Run(ctx, input{images: 10}.open(t))
			if s.Steps != 3 || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%d steps, %v", s.Steps, err)
			}
			trainer.Close()
			if n := len(trainer.ahead); n > 0 {
				t.Errorf("%d copies are left", n)
			}
		})
	}
}

// A source that ends says so with copies made ahead, too, once all its batches are trained on.
func TestAheadAtTheEndOfTheSource(t *testing.T) {
	trainer := newTrainer(t, tiny())
	loop := NewLoop(trainer, &memoryStore{}, LoopOptions{}, Hooks{}, nil, "")
	loop.ahead = trainer.Ahead
	batches := make(chan augment.Batch, 2)
	from := input{images: 10}.open(t)
	batches <- <-from
	batches <- <-from
	close(batches)
	if s, err := loop.Run(t.Context(), batches); !errors.Is(err, ErrStarved) || s.Steps != 2 {
		t.Errorf("%d steps, %v", s.Steps, err)
	}
}
