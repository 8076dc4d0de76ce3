package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mocostream/augment"
	"mocostream/loader"
)

// LoopOptions says how long to train and what happens between steps.
type LoopOptions struct {
	Steps   int64 // ends the run after so many steps in all; 0: no limit
	Epochs  int64 // ends the run once so many passes are consumed; 0: no limit
	PerPass int64 // samples of a pass over a bounded source, for StepResult.Epoch; 0 for a stream

	CheckpointEvery int64 // steps; 0: only at the end
	ProbeEvery      int64 // steps; 0: never

	// Stop ends the run after the step in hand, with a checkpoint, when it is closed.
	Stop <-chan struct{}
}

// Hooks are the loop's callers' part. They run between steps, on the loop's goroutine; an error ends the run.
type Hooks struct {
	// Step is told of every finished step.
	Step func(StepResult) error
	// Dead is given the dead letters of a batch when its step is finished.
	Dead func([]loader.DeadLetter) error
	// Probe evaluates the encoder as of now.
	Probe func(ctx context.Context, step int64) error
	// Seal completes a checkpoint (configuration, versions, what other parts keep in Extra) before it is saved.
	Seal func(*Checkpoint) error
	// Saved is told of a durable checkpoint.
	Saved func(name string, step int64) error
}

// Summary is what a run came to.
type Summary struct {
	Steps, Samples  int64
	Epoch           float64
	Loss            float64 // of the last step
	Checkpoint      string  // name of the last one; "" if there is none
	ImagesPerSecond float64 // over the run, steps and waiting, evaluation and checkpoints left out
	DataWait        float64 // share of that time spent waiting for batches
	Stopped         bool    // by Stop, not by reaching the end
}

// Loop runs a trainer over batches.
type Loop struct {
	trainer *Trainer
	store   Checkpoints
	options LoopOptions
	hooks   Hooks

	token   loader.Token // of the last finished batch
	samples int64
	last    StepResult
	saved   int64 // step of the last checkpoint, -1 if there is none
	name    string

	waiting, working time.Duration
	recent           struct{ waiting, working float64 } // seconds, old steps fading by recentDecay a step
	steps            int64                              // of this process
}

// NewLoop prepares a run from a restored checkpoint, or from the start with nil.
func NewLoop(t *Trainer, store Checkpoints, o LoopOptions, h Hooks, from *Checkpoint, name string) *Loop {
	l := &Loop{trainer: t, store: store, options: o, hooks: h, saved: -1}
	if from != nil {
		l.token, l.samples, l.saved, l.name = from.Token, from.Samples, from.Step, name
	}
	return l
}

// Run steps over batches until the end, Stop, an error or the end of batches, which whoever closed the channel explains:
// Run then returns ErrStarved. After nil and after ErrStarved a checkpoint of the last step is durable; after any other
// error the newest checkpoint is the truth.
func (l *Loop) Run(ctx context.Context, batches <-chan augment.Batch) (Summary, error) {
	for !l.finished() {
		started := time.Now()
		batch, err := l.next(ctx, batches)
		waited := time.Since(started)
		if errors.Is(err, errStop) {
			return l.end(ctx, true)
		}
		if errors.Is(err, ErrStarved) {
			s, saveErr := l.end(ctx, false)
			return s, errors.Join(err, saveErr)
		}
		if err != nil {
			return l.summary(), err
		}
		if err := l.step(ctx, batch, waited); err != nil {
			return l.summary(), err
		}
	}
	return l.end(ctx, false)
}

// ErrStarved says that batches ended before the run did.
var ErrStarved = errors.New("the source ended before the run did")

var errStop = errors.New("stop")

// next waits for a batch; Stop wins over a batch that is ready.
func (l *Loop) next(ctx context.Context, batches <-chan augment.Batch) (augment.Batch, error) {
	select {
	case <-l.options.Stop:
		return augment.Batch{}, errStop
	default:
	}
	select {
	case batch, ok := <-batches:
		if !ok {
			return batch, ErrStarved
		}
		return batch, nil
	case <-l.options.Stop:
		return augment.Batch{}, errStop
	case <-ctx.Done():
		return augment.Batch{}, ctx.Err()
	}
}

func (l *Loop) finished() bool {
	o := l.options
	if o.Steps > 0 && l.trainer.Steps() >= o.Steps {
		return true
	}
	p := l.token.Progress.Bounded
	return o.Steps <= 0 && o.Epochs > 0 && p != nil && p.Epoch >= o.Epochs
}

// step trains on one batch and does what is due after it.
func (l *Loop) step(ctx context.Context, batch augment.Batch, waited time.Duration) error {
	token, dead, n := batch.Token, batch.Dead, batch.Len()
	started := time.Now()
	r, err := l.trainer.Step(ctx, batch)
	if err != nil {
		return err
	}
	worked := time.Since(started)
	l.count(waited, worked)
	l.token, l.samples = token, l.samples+int64(n)
	r.Samples, r.Epoch = l.samples, l.epoch()
	r.ImagesPerSecond = float64(n) / (waited + worked).Seconds()
	r.DataWait = l.recent.waiting / (l.recent.waiting + l.recent.working)
	l.last = r
	if len(dead) > 0 && l.hooks.Dead != nil {
		if err := l.hooks.Dead(dead); err != nil {
			return err
		}
	}
	if l.hooks.Step != nil {
		if err := l.hooks.Step(r); err != nil {
			return err
		}
	}
	return l.due(ctx, r.Step)
}

// due evaluates and checkpoints where it is time to.
func (l *Loop) due(ctx context.Context, step int64) error {
	if every := l.options.ProbeEvery; every > 0 && step%every == 0 && l.hooks.Probe != nil {
		if err := l.hooks.Probe(ctx, step); err != nil {
			return fmt.Errorf("probe at step %d: %w", step, err)
		}
	}
	if every := l.options.CheckpointEvery; every > 0 && step%every == 0 {
		return l.save(ctx)
	}
	return nil
}

func (l *Loop) epoch() float64 {
	if l.options.PerPass <= 0 {
		return 0
	}
	p := l.token.Progress.Bounded
	if p == nil {
		return 0
	}
	return float64(p.Epoch) + float64(p.Index)/float64(l.options.PerPass)
}

// recentDecay makes StepResult.DataWait a mean over about the last twenty steps.
const recentDecay = 0.95

func (l *Loop) count(waited, worked time.Duration) {
	l.steps++
	l.waiting += waited
	l.working += worked
	l.recent.waiting = l.recent.waiting*recentDecay + waited.Seconds()
	l.recent.working = l.recent.working*recentDecay + worked.Seconds()
}

func (l *Loop) wait() float64 {
	if total := l.waiting + l.working; total > 0 {
		return float64(l.waiting) / float64(total)
	}
	return 0
}

// end saves what is not saved yet.
func (l *Loop) end(ctx context.Context, stopped bool) (Summary, error) {
	if l.saved != l.trainer.Steps() {
		if err := l.save(ctx); err != nil {
			return l.summary(), err
		}
	}
	s := l.summary()
	s.Stopped = stopped
	return s, nil
}

// save makes a checkpoint of the last finished step. One that would hold numbers that are none is refused: a run could
// never go on from it, and would pass over the good one before.
func (l *Loop) save(ctx context.Context) error {
	c, err := l.Checkpoint()
	if err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", l.trainer.Steps(), err)
	}
	if name := notFinite(slices.Concat(c.Model, c.Optimizer)); name != "" {
		return fmt.Errorf("checkpoint of step %d: %w (%s); lower train.optimizer.lr or lengthen train.schedule.warmup_steps",
			c.Step, ErrNotFinite, name)
	}
	if l.hooks.Seal != nil {
		if err := l.hooks.Seal(c); err != nil {
			return fmt.Errorf("checkpoint of step %d: %w", c.Step, err)
		}
	}
	if l.name, err = l.store.Save(ctx, c); err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", c.Step, err)
	}
	l.saved = c.Step
	if l.hooks.Saved != nil {
		return l.hooks.Saved(l.name, c.Step)
	}
	return nil
}

// Checkpoint copies the state of the last finished step to the host.
func (l *Loop) Checkpoint() (*Checkpoint, error) {
	weights, optimizer, err := l.trainer.State()
	if err != nil {
		return nil, err
	}
	return &Checkpoint{
		Step: l.trainer.Steps(), Samples: l.samples, Token: l.token,
		Seed: l.trainer.options.Seed, Encoder: l.trainer.options.Encoder,
		Extra: map[string]json.RawMessage{},
		Model: weights, Optimizer: optimizer,
	}, nil
}

func (l *Loop) summary() Summary {
	s := Summary{
		Steps: l.trainer.Steps(), Samples: l.samples, Epoch: l.epoch(),
		Loss: l.last.Loss, Checkpoint: l.name, DataWait: l.wait(),
	}
	if total := l.waiting + l.working; total > 0 {
		s.ImagesPerSecond = float64(l.steps*int64(l.trainer.options.Batch)) / total.Seconds()
	}
	return s
}
