package train

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mocostream/augment"
	"mocostream/internal/flow"
	"mocostream/internal/safetensors"
	"mocostream/loader"
)

// LoopOptions says how long to train and what happens between steps.
type LoopOptions struct {
	Steps   int64 // ends the run after so many steps in all; 0: no limit
	Epochs  int64 // ends the run once so many passes are consumed; 0: no limit
	PerPass int64 // samples of a pass over a bounded source, for StepResult.Epoch; 0 for a stream

	CheckpointEvery int64 // steps; 0: not by steps
	// CheckpointInterval is the longest time for which a finished step stays without a checkpoint, also where no further
	// step follows it; a step and a probe may come on top. 0: not by time.
	CheckpointInterval time.Duration
	ProbeEvery         int64 // steps; 0: never

	// Stop ends the run after the step in hand, with a checkpoint, when it is closed. It wins over a batch that is ready,
	// over Control and over a pause.
	Stop <-chan struct{}
	// Control carries what others want done between steps, or while the loop waits or is paused. Each function runs on the
	// loop's goroutine and may use the Loop; its error ends the run, as a hook's does. What it takes counts neither as work
	// nor as waiting.
	Control <-chan func(ctx context.Context) error
	// WaitNotice is how long no batch comes before Hooks.Waiting hears of it. 0: it never does.
	WaitNotice time.Duration
}

// Hooks are the loop's callers' part. They run between steps, on the loop's goroutine; an error ends the run.
type Hooks struct {
	// Batch is shown every batch before its step, which then owns it.
	Batch func(*augment.Batch) error
	// Step is told of every finished step.
	Step func(StepResult) error
	// Discarded is given the images of a step that changed nothing, before Step.
	Discarded func([]DiscardedSample) error
	// Dead is given the dead letters of a batch when its step is finished.
	Dead func([]loader.DeadLetter) error
	// Probe evaluates the encoder as of now.
	Probe func(ctx context.Context, step int64) error
	// Seal completes a checkpoint (configuration, versions, what other parts keep in Extra) before it is saved.
	Seal func(*Checkpoint) error
	// Saved is told of a durable checkpoint.
	Saved func(name string, step int64) error
	// Waiting is told, once, when no batch came for WaitNotice, and since when. A pause is no waiting.
	Waiting func(since time.Time)
	// Resumed is told when a batch came after Waiting.
	Resumed func()
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

// stepper is what the loop needs of a Trainer.
type stepper interface {
	Step(ctx context.Context, b augment.Batch) (StepResult, error)
	Steps() int64
	State() (weights, optimizer []safetensors.Tensor, err error)
	Options() Options
	Discards() Discards
}

// Loop runs a trainer over batches. Apart from NewLoop, Run and Counts its methods are for hooks and control functions, on the
// goroutine of Run, and for after Run.
type Loop struct {
	trainer stepper
	ahead   func(ctx context.Context, batches <-chan augment.Batch, out chan<- augment.Batch) // Trainer.Ahead; nil: not worth it
	store   Checkpoints
	options LoopOptions
	hooks   Hooks

	token   loader.Token // of the last finished batch
	samples int64
	last    StepResult
	saved   int64 // step of the last checkpoint, -1 if there is none
	name    string

	unsaved time.Time     // when the first step after the last checkpoint was finished; zero if there is none
	took    time.Duration // of the last checkpoint
	paused  bool
	waits   bool // Hooks.Waiting was told, Hooks.Resumed not yet

	clocks           struct{ waiting, working flow.Clock } // for Counts
	waiting, working time.Duration
	recent           struct{ waiting, working float64 } // seconds, old steps fading by recentDecay a step
	steps            int64                              // of this process
}

// NewLoop prepares a run from a restored checkpoint, or from the start with nil.
func NewLoop(t *Trainer, store Checkpoints, o LoopOptions, h Hooks, from *Checkpoint, name string) *Loop {
	l := newLoop(t, store, o, h)
	if t.CopiesAhead() {
		l.ahead = t.Ahead
	}
	if from != nil {
		l.token, l.samples, l.saved, l.name = from.Token, from.Samples, from.Step, name
	}
	return l
}

func newLoop(t stepper, store Checkpoints, o LoopOptions, h Hooks) *Loop {
	return &Loop{trainer: t, store: store, options: o, hooks: h, saved: -1}
}

// Run steps over batches until the end, Stop, an error or the end of batches, which whoever closed the channel explains:
// Run then returns ErrStarved. After nil and after ErrStarved a checkpoint of the last step is durable; after any other
// error the newest checkpoint is the truth.
func (l *Loop) Run(ctx context.Context, batches <-chan augment.Batch) (Summary, error) {
	if l.ahead == nil {
		return l.run(ctx, batches)
	}
	inner, cancel := context.WithCancel(ctx)
	copied := make(chan augment.Batch)
	var copier sync.WaitGroup
	copier.Go(func() { l.ahead(inner, batches, copied) })
	defer copier.Wait()
	defer cancel()
	return l.run(ctx, copied)
}

func (l *Loop) run(ctx context.Context, batches <-chan augment.Batch) (Summary, error) {
	for !l.finished() {
		batch, waited, err := l.next(ctx, batches)
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
	if l.hooks.Batch != nil {
		if err := l.hooks.Batch(&batch); err != nil {
			batch.Release()
			return err
		}
	}
	discarded := l.discarding(&batch)
	started := time.Now()
	l.clocks.working.Begin()
	r, err := l.trainer.Step(ctx, batch)
	l.clocks.working.End()
	if r.Discarded {
		err = errors.Join(discarded(r), err)
	}
	if err != nil {
		return err
	}
	worked := time.Since(started)
	l.count(waited, worked)
	l.token, l.samples = token, l.samples+int64(n)
	r.Samples, r.Epoch = l.samples, l.epoch()
	r.ImagesPerSecond = ratio(float64(n), (waited + worked).Seconds())
	r.DataWait = ratio(l.recent.waiting, l.recent.waiting+l.recent.working)
	l.last = r
	if l.unsaved.IsZero() {
		l.unsaved = time.Now()
	}
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

// discarding keeps the identity of a batch's images for the case that its step is discarded.
func (l *Loop) discarding(batch *augment.Batch) (discarded func(StepResult) error) {
	if l.hooks.Discarded == nil {
		return func(StepResult) error { return nil }
	}
	samples := samplesOf(batch)
	return func(r StepResult) error { return l.hooks.Discarded(ofStep(samples, r)) }
}

// due evaluates and checkpoints where it is time to.
func (l *Loop) due(ctx context.Context, step int64) error {
	if every := l.options.ProbeEvery; every > 0 && step%every == 0 && l.hooks.Probe != nil {
		if err := l.hooks.Probe(ctx, step); err != nil {
			return fmt.Errorf("probe at step %d: %w", step, err)
		}
	}
	every := l.options.CheckpointEvery
	if wait, timed := l.untilSave(); every > 0 && step%every == 0 || timed && wait <= 0 {
		_, err := l.Save(ctx)
		return err
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

// ratio is a/b, 0 where nothing was measured.
func ratio(a, b float64) float64 {
	if b > 0 {
		return a / b
	}
	return 0
}

// Counts are the device's stage: how long steps took and no batch was there. Anybody may call it at any time.
func (l *Loop) Counts() flow.Counts {
	return flow.Counts{Name: flow.Device, Workers: 1, Busy: l.clocks.working.Total(), WaitInput: l.clocks.waiting.Total()}
}

// Step is the number of finished steps.
func (l *Loop) Step() int64 { return l.trainer.Steps() }

// Token is the state of the input side as of the last finished step.
func (l *Loop) Token() loader.Token { return l.token.Clone() }

// end saves what is not saved yet.
func (l *Loop) end(ctx context.Context, stopped bool) (Summary, error) {
	if _, err := l.Save(ctx); err != nil {
		return l.summary(), err
	}
	s := l.summary()
	s.Stopped = stopped
	return s, nil
}

func (l *Loop) summary() Summary {
	total := (l.waiting + l.working).Seconds()
	return Summary{
		Steps: l.trainer.Steps(), Samples: l.samples, Epoch: l.epoch(), Loss: l.last.Loss, Checkpoint: l.name,
		ImagesPerSecond: ratio(float64(l.steps*int64(l.trainer.Options().Batch)), total),
		DataWait:        ratio(l.waiting.Seconds(), total),
	}
}
