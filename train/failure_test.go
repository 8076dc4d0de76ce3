package train

import (
	"context"
	"errors"
	"strings"
	"testing"

	"mocostream/augment"
)

func TestOutOfMemoryIsExplained(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{
			"RESOURCE_EXHAUSTED: Out of memory while trying to allocate 21474836480 bytes.",
			"20.0 GiB are needed in one piece, and the backend does not say how much is free; 128 or less should fit, in proportion: set train.batch, or train.accumulate for parts of it",
		},
		{
			"RESOURCE_EXHAUSTED: Out of memory allocating 1048576 bytes",
			"1 MiB are needed in one piece, and the backend does not say how much is free; 128 or less should fit, in proportion: set train.batch, or train.accumulate for parts of it",
		},
		{
			"RESOURCE_EXHAUSTED: Failed to allocate request for 40.00GiB (42949672960B) on device ordinal 0\nStats:\nLimit:     42949672960\nInUse:     10737418240\n",
			"40.0 GiB are needed in one piece and 30.0 GiB are free; 192 or less should fit, in proportion: set train.batch, or train.accumulate for parts of it",
		},
		{
			"RESOURCE_EXHAUSTED: Attempting to reserve 9.00G at the bottom of memory. That was not possible. There are 6.75G free, 0B reserved, and 6.75G reservable.",
			"9.0 GiB are needed in one piece and 6.8 GiB are free; 192 or less should fit, in proportion: set train.batch, or train.accumulate for parts of it",
		},
		{
			"RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1099511627776 bytes; 1048576 bytes free",
			"1024.0 GiB are needed in one piece and 1 MiB are free; use a smaller encoder or smaller views",
		},
		{
			"Resource_Exhausted: too many buffers",
			"the backend does not say how much is needed; 128 or less should fit, in proportion: set train.batch, or train.accumulate for parts of it",
		},
		{
			"CUDA_ERROR_OUT_OF_MEMORY: out of memory: 4.5 GiB free",
			"the backend does not say how much is needed; 128 or less should fit, in proportion: set train.batch, or train.accumulate for parts of it",
		},
	} {
		cause := errors.New(c.text)
		e := outOfMemory(cause, 256, 8)
		if e == nil {
			t.Errorf("not seen as out of memory: %s", c.text)
			continue
		}
		if got := e.Error(); !strings.HasPrefix(got, "the device's memory is too small for a step of 256 images: "+c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\nis explained as %s\nwant %s", c.text, got, c.want)
		}
		if !errors.Is(e, cause) || e.Fits%8 != 0 || e.Fits >= 256 {
			t.Errorf("%+v", e)
		}
	}
	for _, text := range []string{"INTERNAL: device lost", "UNAVAILABLE: no memory of it", "INVALID_ARGUMENT: allocating 5 bytes"} {
		if e := outOfMemory(errors.New(text), 256, 8); e != nil {
			t.Errorf("%s is explained as %v", text, e)
		}
	}
	if e := outOfMemory(errors.New("RESOURCE_EXHAUSTED"), 2, 1); e == nil || e.Fits != 0 {
		t.Errorf("a batch of one was offered: %v", e)
	}
}

// A failed execution is ErrLost, one for want of memory is not.
func TestFailedStepsAreLost(t *testing.T) {
	trainer := newTrainer(t, tiny())
	batches := input{images: 10}.open(t)
	steps(t, trainer, batches, 1)
	trainer.exec.Finalize() // what is compiled is gone: the device does not run it
	_, err := trainer.Step(t.Context(), <-batches)
	if !errors.Is(err, ErrLost) || !strings.HasPrefix(err.Error(), "step 2: ") {
		t.Errorf("got %v, want %v", err, ErrLost)
	}
	err = trainer.failed("step 3", errors.New("RESOURCE_EXHAUSTED: allocating 8 bytes"), ErrLost)
	var memory *OutOfMemoryError
	if errors.Is(err, ErrLost) || !errors.As(err, &memory) || memory.Need != 8 || memory.Fits != 2 || !strings.HasPrefix(err.Error(), "step 3: ") {
		t.Errorf("got %v", err)
	}
}

// breaker is a trainer whose device fails at a step.
type breaker struct {
	sleeper
	at int64
}

func (b *breaker) Step(ctx context.Context, batch augment.Batch) (StepResult, error) {
	if b.done+1 == b.at {
		batch.Release()
		return StepResult{}, ErrLost
	}
	return b.sleeper.Step(ctx, batch)
}

// The loop leaves a lost trainer alone: what it holds is no checkpoint.
func TestLoopSavesNothingOfALostTrainer(t *testing.T) {
	var d diary
	store := &memoryStore{}
	loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{Steps: 9, CheckpointEvery: 2}, d.hooks(), nil, "")
	loop.trainer = &breaker{at: 4}
	if _, err := loop.Run(t.Context(), input{images: 10}.open(t)); !errors.Is(err, ErrLost) {
		t.Errorf("got %v, want %v", err, ErrLost)
	}
	d.expect(t, "step 1", "step 2", "seal 2", "saved step-000000002 2", "step 3")
}
