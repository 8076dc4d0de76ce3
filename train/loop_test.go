package train

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mocostream/augment"
	"mocostream/internal/safetensors"
	"mocostream/loader"
)

// memoryStore keeps checkpoints, or refuses to.
type memoryStore struct {
	saved []*Checkpoint
	err   error
}

var _ Checkpoints = (*memoryStore)(nil)

func (m *memoryStore) Save(_ context.Context, c *Checkpoint) (string, error) {
	if m.err != nil {
		return "", m.err
	}
	m.saved = append(m.saved, c)
	return fmt.Sprintf("step-%09d", c.Step), nil
}

func (m *memoryStore) Newest(context.Context) (*Checkpoint, string, error) {
	return nil, "", errors.New("nobody asks in these tests")
}

func (m *memoryStore) steps() []int64 {
	var all []int64
	for _, c := range m.saved {
		all = append(all, c.Step)
	}
	return all
}

// diary notes every call of a hook.
type diary []string

func (d *diary) note(format string, args ...any) { *d = append(*d, fmt.Sprintf(format, args...)) }

func (d *diary) hooks() Hooks {
	return Hooks{
		Step: func(r StepResult) error { d.note("step %d", r.Step); return nil },
		Dead: func(l []loader.DeadLetter) error {
			for _, letter := range l {
				d.note("dead %s %s", letter.Key, letter.Reason)
			}
			return nil
		},
		Probe: func(_ context.Context, step int64) error { d.note("probe %d", step); return nil },
		Seal: func(c *Checkpoint) error {
			d.note("seal %d", c.Step)
			c.Config = map[string]string{"sealed": "yes"}
			return nil
		},
		Saved: func(name string, step int64) error { d.note("saved %s %d", name, step); return nil },
	}
}

func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(*d, want) {
		t.Errorf("hooks were called as\n%q, want\n%q", []string(*d), want)
	}
}

func TestLoopEndsAtSteps(t *testing.T) {
	var d diary
	store := &memoryStore{}
	loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{
		Steps: 5, Epochs: 1, PerPass: 10, CheckpointEvery: 2, ProbeEvery: 3,
	}, d.hooks(), nil, "")
	s, err := loop.Run(t.Context(), input{images: 10}.open(t))
	if err != nil {
		t.Fatal(err)
	}
	d.expect(t,
		"step 1", "step 2", "seal 2", "saved step-000000002 2", "step 3", "probe 3",
		"step 4", "seal 4", "saved step-000000004 4", "step 5", "seal 5", "saved step-000000005 5")
	if !slices.Equal(store.steps(), []int64{2, 4, 5}) {
		t.Errorf("checkpoints of steps %v", store.steps())
	}
	if s.Steps != 5 || s.Samples != 20 || s.Epoch != 2 || s.Checkpoint != "step-000000005" || s.Stopped || !(s.Loss > 0) {
		t.Errorf("%+v", s)
	}
	if !(s.ImagesPerSecond > 0) || s.DataWait < 0 || s.DataWait > 1 {
		t.Errorf("%+v", s)
	}
	for i, c := range store.saved {
		if c.Samples != 4*c.Step || c.Config["sealed"] != "yes" || c.Encoder != tiny().Encoder || c.Seed != tiny().Seed || c.Extra == nil {
			t.Errorf("checkpoint %d: %d samples, config %v, seed %d", i, c.Samples, c.Config, c.Seed)
		}
		at := c.Token.Progress.Bounded
		if at.Epoch*10+at.Index != c.Samples || c.Token.Position != uint64(c.Samples) {
			t.Errorf("checkpoint of step %d has token %+v and %d samples", c.Step, *at, c.Samples)
		}
	}
}

// A last step that has its checkpoint gets no second one.
func TestLoopSavesTheEndOnce(t *testing.T) {
	store := &memoryStore{}
	loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{Steps: 4, CheckpointEvery: 2}, Hooks{}, nil, "")
	s, err := loop.Run(t.Context(), input{images: 10}.open(t))
	if err != nil || s.Checkpoint != "step-000000004" || !slices.Equal(store.steps(), []int64{2, 4}) {
		t.Errorf("checkpoints %v, %+v, %v", store.steps(), s, err)
	}
	if s.Epoch != 0 {
		t.Errorf("epoch %v without a number of samples a pass, want 0", s.Epoch)
	}
}

func TestLoopEndsAtEpochs(t *testing.T) {
	for _, c := range []struct {
		images        int
		epochs, loads int64 // of the run; of the loader, 0: for ever
		steps         int64
		epoch         float64
	}{
		{10, 2, 2, 5, 2},   // five batches are two epochs exactly, and there are no more
		{10, 2, 0, 5, 2},   // the same where there are
		{10, 1, 0, 3, 1.2}, // the last batch is filled from the next epoch
		{12, 1, 1, 3, 1},
		{4, 3, 0, 3, 3},
	} {
		t.Run(fmt.Sprintf("%d epochs of %d", c.epochs, c.images), func(t *testing.T) {
			var d diary
			var last StepResult
			store := &memoryStore{}
			hooks := d.hooks()
			hooks.Step = func(r StepResult) error { last = r; return nil }
			loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{Epochs: c.epochs, PerPass: int64(c.images)}, hooks, nil, "")
			s, err := loop.Run(t.Context(), input{images: c.images, epochs: c.loads}.open(t))
			if err != nil {
				t.Fatal(err)
			}
			if s.Steps != c.steps || s.Epoch != c.epoch || last.Epoch != c.epoch || last.Samples != 4*c.steps || s.Stopped {
				t.Errorf("%+v, last step %+v; want %d steps, epoch %v", s, last, c.steps, c.epoch)
			}
			if !slices.Equal(store.steps(), []int64{c.steps}) {
				t.Errorf("checkpoints of steps %v, want one at the end", store.steps())
			}
		})
	}
}

func TestLoopStops(t *testing.T) {
	stop := make(chan struct{})
	store := &memoryStore{}
	hooks := Hooks{Step: func(r StepResult) error {
		if r.Step == 3 {
			close(stop)
		}
		return nil
	}}
	loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{Steps: 100, Stop: stop}, hooks, nil, "")
	s, err := loop.Run(t.Context(), input{images: 10}.open(t))
	if err != nil || !s.Stopped || s.Steps != 3 || s.Checkpoint != "step-000000003" || !slices.Equal(store.steps(), []int64{3}) {
		t.Errorf("%+v, checkpoints %v, %v", s, store.steps(), err)
	}
}

// Stop also ends the wait for a batch that never comes, and a run that has made no step yet.
func TestLoopStopsWhileItWaits(t *testing.T) {
	stop := make(chan struct{})
	store := &memoryStore{}
	loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{Steps: 100, Stop: stop}, Hooks{}, nil, "")
	go close(stop)
	s, err := loop.Run(t.Context(), make(chan augment.Batch))
	if err != nil || !s.Stopped || s.Steps != 0 || !slices.Equal(store.steps(), []int64{0}) {
		t.Errorf("%+v, checkpoints %v, %v", s, store.steps(), err)
	}
}

// Stop wins over what is ready: here, over batches that have ended.
func TestLoopStopsFirst(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	loop := NewLoop(newTrainer(t, tiny()), &memoryStore{}, LoopOptions{Steps: 100, Stop: stop}, Hooks{}, nil, "")
	for range 30 {
		if s, err := loop.Run(t.Context(), closed()); err != nil || !s.Stopped {
			t.Fatalf("%+v, %v", s, err)
		}
	}
}

func TestLoopStarves(t *testing.T) {
	store := &memoryStore{}
	loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{Steps: 100}, Hooks{}, nil, "")
	s, err := loop.Run(t.Context(), input{images: 10, epochs: 1}.open(t))
	if !errors.Is(err, ErrStarved) || s.Steps != 2 || !slices.Equal(store.steps(), []int64{2}) {
		t.Errorf("%+v, checkpoints %v, %v; want %v after two steps, which are saved", s, store.steps(), err, ErrStarved)
	}
	loop.saved, store.err = -1, errors.New("disk full")
	if _, err := loop.Run(t.Context(), closed()); !errors.Is(err, ErrStarved) || !errors.Is(err, store.err) {
		t.Errorf("got %v, want both what ended the run and what kept it from being saved", err)
	}
}

func closed() <-chan augment.Batch {
	batches := make(chan augment.Batch)
	close(batches)
	return batches
}

func TestLoopEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store := &memoryStore{}
	loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{Steps: 100}, Hooks{Step: func(r StepResult) error {
		if r.Step == 2 {
			cancel()
		}
		return nil
	}}, nil, "")
	s, err := loop.Run(ctx, input{images: 10}.open(t))
	if !errors.Is(err, context.Canceled) || s.Steps != 2 || len(store.saved) != 0 {
		t.Errorf("%+v, checkpoints %v, %v; want %v after two steps", s, store.steps(), err, context.Canceled)
	}
	if _, err := loop.Run(ctx, make(chan augment.Batch)); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a batch ended with %v, want %v", err, context.Canceled)
	}
}

// An error of a hook ends the run there and then, and nothing is saved after it.
func TestLoopEndsAtAHooksError(t *testing.T) {
	broken := errors.New("disk full")
	for _, c := range []struct {
		name  string
		spoil func(*Hooks, *memoryStore)
		want  string
		after []string
	}{
		{
			"step", func(h *Hooks, _ *memoryStore) { h.Step = func(StepResult) error { return broken } },
			"disk full", nil,
		},
		{
			"dead", func(h *Hooks, _ *memoryStore) { h.Dead = func([]loader.DeadLetter) error { return broken } },
			"disk full", []string{"step 1", "probe 1", "seal 1", "saved step-000000001 1"},
		},
		{
			"probe", func(h *Hooks, _ *memoryStore) { h.Probe = func(context.Context, int64) error { return broken } },
			"probe at step 1: disk full", []string{"step 1"},
		},
		{
			"seal", func(h *Hooks, _ *memoryStore) { h.Seal = func(*Checkpoint) error { return broken } },
			"checkpoint of step 1: disk full", []string{"step 1", "probe 1"},
		},
		{
			"save", func(_ *Hooks, m *memoryStore) { m.err = broken },
			"checkpoint of step 1: disk full", []string{"step 1", "probe 1", "seal 1"},
		},
		{
			"saved", func(h *Hooks, _ *memoryStore) { h.Saved = func(string, int64) error { return broken } },
			"disk full", []string{"step 1", "probe 1", "seal 1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d diary
			store := &memoryStore{}
			hooks := d.hooks()
			c.spoil(&hooks, store)
			loop := NewLoop(newTrainer(t, tiny()), store, LoopOptions{Steps: 9, CheckpointEvery: 1, ProbeEvery: 1}, hooks, nil, "")
			_, err := loop.Run(t.Context(), input{images: 10, bad: badOfBatch(t, 2)}.open(t))
			if !errors.Is(err, broken) || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			d.expect(t, c.after...)
		})
	}
}

// badOfBatch finds an image that comes fifth: where it cannot be decoded, batch 2 (from 1) reports it.
func badOfBatch(t *testing.T, batch int) []int {
	t.Helper()
	batches := input{images: 10}.open(t)
	var key string
	for range batch {
		b := <-batches
		key = sampleKeys(&b)[0]
		b.Release()
	}
	var image int
	if _, err := fmt.Sscanf(key, "img/%d", &image); err != nil {
		t.Fatal(err)
	}
	return []int{image}
}

// Dead letters are handed over when the step that consumed them is finished, not when they are found.
func TestLoopHandsOverDeadLetters(t *testing.T) {
	var d diary
	hooks := d.hooks()
	bad := badOfBatch(t, 2)
	loop := NewLoop(newTrainer(t, tiny()), &memoryStore{}, LoopOptions{Steps: 3}, hooks, nil, "")
	trainer := loop.trainer
	dead := hooks.Dead
	loop.hooks.Dead = func(l []loader.DeadLetter) error {
		d.note("after %d", trainer.Steps())
		return dead(l)
	}
	if _, err := loop.Run(t.Context(), input{images: 10, bad: bad, workers: 3}.open(t)); err != nil {
		t.Fatal(err)
	}
	d.expect(t, "step 1", "after 2", fmt.Sprintf("dead img/%d truncated", bad[0]), "step 2",
		"step 3", "seal 3", "saved step-000000003 3")
}

// A step that fails keeps its dead letters to itself: the run that goes on finds them again.
func TestLoopKeepsDeadLettersOfAFailedStep(t *testing.T) {
	var d diary
	o := tiny()
	o.Size = 9 // the batches are of 8
	loop := NewLoop(newTrainer(t, o), &memoryStore{}, LoopOptions{Steps: 3}, d.hooks(), nil, "")
	if _, err := loop.Run(t.Context(), input{images: 10, bad: badOfBatch(t, 1)}.open(t)); err == nil || !strings.Contains(err.Error(), "compiled for") {
		t.Errorf("got %v", err)
	}
	d.expect(t)
}

// At the lower rate a step fails; at the higher one the first step leaves infinite weights, which are not saved.
func TestLoopSavesNothingThatIsNotFinite(t *testing.T) {
	for _, rate := range []float64{1e25, 1e38} {
		o := tiny()
		o.Schedule = ScheduleOptions{Name: "constant", Base: rate}
		var d diary
		store := &memoryStore{}
		loop := NewLoop(newTrainer(t, o), store, LoopOptions{Steps: 50, CheckpointEvery: 1}, d.hooks(), nil, "")
		s, err := loop.Run(t.Context(), input{images: 10}.open(t))
		if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "lower train.optimizer.lr") {
			t.Fatalf("rate %g: got %v, want %v and its remedy", rate, err, ErrNotFinite)
		}
		if reported := slices.Contains(d, fmt.Sprintf("step %d", s.Steps)); reported != strings.HasPrefix(err.Error(), "checkpoint of ") {
			t.Errorf("rate %g: hooks %q, and then %v", rate, []string(d), err)
		}
		for _, c := range store.saved {
			for _, tensor := range slices.Concat(c.Model, c.Optimizer) {
				if values, err := safetensors.Float32s(tensor); err == nil && slices.ContainsFunc(values, func(v float32) bool { return !finite(float64(v)) }) {
					t.Errorf("rate %g: the checkpoint of step %d has %v in %s", rate, c.Step, values, tensor.Name)
				}
			}
		}
	}
}
