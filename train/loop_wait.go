package train

import (
	"context"
	"errors"
	"time"

	"mocostream/augment"
)

var errStop = errors.New("stop")

// Pause takes no further batch until Resume. Control functions still run, what is not saved is still saved by time, and
// Stop ends the run. To pause again is a no-op.
func (l *Loop) Pause() { l.paused = true }

// Resume ends a pause; without one it is a no-op.
func (l *Loop) Resume() { l.paused = false }

// Paused tells whether the loop is between Pause and Resume.
func (l *Loop) Paused() bool { return l.paused }

// next waits for a batch and does meanwhile what cannot wait. waited is how long no batch was there, pauses and what was
// done meanwhile left out.
func (l *Loop) next(ctx context.Context, batches <-chan augment.Batch) (batch augment.Batch, waited time.Duration, err error) {
	wait := quiet{since: time.Now()}
	for {
		in := batches
		if l.paused {
			in = nil // a receive from it never ends
			wait = quiet{}
		} else if wait.since.IsZero() {
			wait.since = time.Now()
		}
		began := time.Now()
		if in != nil {
			l.clocks.waiting.Begin()
		}
		e, err := l.idle(ctx, in, wait)
		if in != nil {
			l.clocks.waiting.End()
			wait.idle += time.Since(began)
			waited += time.Since(began)
		}
		if err != nil || e.came {
			l.reportBatch(e.came)
			return e.batch, waited, err
		}
		if e.do != nil {
			if err := e.do(ctx); err != nil {
				return augment.Batch{}, waited, err
			}
		}
	}
}

// quiet is the wait for one batch.
type quiet struct {
	since time.Time     // when it began; zero while the loop is paused
	idle  time.Duration // of the time since then, with nothing to do
}

// event is what ended an idle moment: a batch, something to do, or neither.
type event struct {
	batch augment.Batch
	came  bool
	do    func(ctx context.Context) error
}

// idle waits for the next event. Of those that are there already Stop comes first, then Control. From in == nil no batch
// comes.
func (l *Loop) idle(ctx context.Context, in <-chan augment.Batch, wait quiet) (event, error) {
	select {
	case <-l.options.Stop:
		return event{}, errStop
	default:
	}
	select {
	case f, ok := <-l.options.Control:
		return l.asked(f, ok), nil
	default:
	}
	save := newAlarm(l.untilSave())
	defer save.stop()
	notice := newAlarm(l.options.WaitNotice-wait.idle, in != nil && !l.waits && l.options.WaitNotice > 0)
	defer notice.stop()
	select {
	case batch, ok := <-in:
		if !ok {
			return event{}, ErrStarved
		}
		return event{batch: batch, came: true}, nil
	case <-l.options.Stop:
		return event{}, errStop
	case f, ok := <-l.options.Control:
		return l.asked(f, ok), nil
	case <-save.rings:
		return event{do: func(ctx context.Context) error { _, err := l.Save(ctx); return err }}, nil
	case <-notice.rings:
		l.reportWait(wait.since)
		return event{}, nil
	case <-ctx.Done():
		return event{}, ctx.Err()
	}
}

// asked is the event of a control function. A Control that was closed asks for nothing any more.
func (l *Loop) asked(f func(ctx context.Context) error, ok bool) event {
	if !ok {
		l.options.Control = nil
	}
	return event{do: f}
}

// reportWait reports a wait that has become long.
func (l *Loop) reportWait(since time.Time) {
	l.waits = true
	if l.hooks.Waiting != nil {
		l.hooks.Waiting(since)
	}
}

// reportBatch reports the end of a wait that was reported.
func (l *Loop) reportBatch(came bool) {
	if !came || !l.waits {
		return
	}
	l.waits = false
	if l.hooks.Resumed != nil {
		l.hooks.Resumed()
	}
}

// alarm is a timer, or none: then it never rings.
type alarm struct {
	rings <-chan time.Time
	timer *time.Timer
}

func newAlarm(after time.Duration, set bool) alarm {
	if !set {
		return alarm{}
	}
	t := time.NewTimer(after)
	return alarm{rings: t.C, timer: t}
}

func (a alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
