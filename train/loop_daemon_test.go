package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mocostream/augment"
	"mocostream/internal/safetensors"
	"mocostream/loader"
)

// sleeper is a trainer whose step takes a while of the bubble's time and does nothing else.
type sleeper struct {
	done int64
	step time.Duration
}

func (s *sleeper) Step(_ context.Context, b augment.Batch) (StepResult, error) {
	b.Release()
	time.Sleep(s.step)
	s.done++
	return StepResult{Step: s.done, Loss: 1}, nil
}

func (s *sleeper) Steps() int64 { return s.done }

func (s *sleeper) State() (weights, optimizer []safetensors.Tensor, err error) { return nil, nil, nil }

func (s *sleeper) Discards() Discards { return Discards{} }

func (s *sleeper) Options() Options { return Options{Batch: 1} }

// rig is a loop in a bubble, with what surrounds it. Times are counted from the bubble's start.
type rig struct {
	t       *testing.T
	start   time.Time
	loop    *Loop
	store   *memoryStore
	batches chan augment.Batch
	stop    chan struct{}
	control chan func(context.Context) error
	sent    uint64
	diary   diary
	ended   chan struct{}
	summary Summary
	err     error
}

// newRig starts a loop whose steps take one second.
func newRig(t *testing.T, o LoopOptions, change func(*rig, *Hooks)) *rig {
	r := &rig{
		t: t, start: time.Now(), store: &memoryStore{}, batches: make(chan augment.Batch), stop: make(chan struct{}),
		control: make(chan func(context.Context) error), ended: make(chan struct{}),
	}
	o.Stop, o.Control = r.stop, r.control
	h := Hooks{
		Step:    func(s StepResult) error { r.note("step %d", s.Step); return nil },
		Saved:   func(_ string, step int64) error { r.note("saved %d", step); return nil },
		Waiting: func(since time.Time) { r.note("waiting since %v", since.Sub(r.start)) },
		Resumed: func() { r.note("resumed") },
	}
	if change != nil {
		change(r, &h)
	}
	r.loop = newLoop(&sleeper{step: time.Second}, r.store, o, h)
	go func() {
		defer close(r.ended)
		r.summary, r.err = r.loop.Run(t.Context(), r.batches)
	}()
	return r
}

func (r *rig) note(format string, args ...any) {
	r.diary.note("%v: %s", time.Since(r.start), fmt.Sprintf(format, args...))
}

// feed hands n batches over, each as soon as the loop takes it.
func (r *rig) feed(n int) {
	for range n {
		b, err := augment.NewBatch(1, make([]byte, 3), make([]byte, 3))
		if err != nil {
			r.t.Error(err)
			return
		}
		r.sent++
		b.Token = loader.Token{Position: r.sent}
		r.batches <- b
	}
}

// do has the loop run f and waits until it has.
func (r *rig) do(f func()) {
	done := make(chan struct{})
	r.control <- func(context.Context) error { f(); close(done); return nil }
	<-done
}

// finish stops the loop and checks its end.
func (r *rig) finish(steps int64) {
	r.t.Helper()
	close(r.stop)
	<-r.ended
	if r.err != nil || !r.summary.Stopped || r.summary.Steps != steps {
		r.t.Errorf("%+v, %v; want to be stopped after %d steps", r.summary, r.err, steps)
	}
	if last := r.store.saved[len(r.store.saved)-1]; last.Step != steps || last.Token.Position != uint64(steps) {
		r.t.Errorf("the last checkpoint is of step %d and token %+v, want %d", last.Step, last.Token, steps)
	}
}

// expect compares the diary's lines that hold one of words.
func (r *rig) expect(words []string, want ...string) {
	r.t.Helper()
	var lines diary
	for _, line := range r.diary {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			lines = append(lines, line)
		}
	}
	lines.expect(r.t, want...)
}

func TestLoopCheckpointsByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{CheckpointInterval: 10 * time.Second}, nil)
		r.feed(12) // the first ends after 1s: it is due at 11s, and step 12 at 22s, although nothing follows it
		time.Sleep(time.Hour)
		r.feed(1) // the batch of step 13 is taken after 1h11s: it ends at 1h12s
		time.Sleep(time.Hour)
		r.finish(13)
		r.expect([]string{"saved"}, "11s: saved 11", "22s: saved 12", "1h0m22s: saved 13")
	})
}

// A checkpoint by steps starts the time anew.
func TestLoopCheckpointsByStepsAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{CheckpointEvery: 4, CheckpointInterval: 6 * time.Second}, nil)
		r.feed(10)
		time.Sleep(time.Minute)
		r.finish(10)
		r.expect([]string{"saved"}, "4s: saved 4", "8s: saved 8", "15s: saved 10")
	})
}

func TestLoopSaysThatItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{WaitNotice: 5 * time.Second}, nil)
		time.Sleep(4 * time.Second)
		r.feed(2) // steps end at 5s and 6s
		time.Sleep(time.Minute)
		r.feed(1)
		time.Sleep(4 * time.Second)
		r.finish(3)
		r.expect([]string{"waiting", "resumed"}, "11s: waiting since 6s", "1m5s: resumed")
		if s := r.summary; s.DataWait < .9 || s.DataWait >= 1 || s.ImagesPerSecond <= 0 {
			t.Errorf("%+v", s)
		}
	})
}

// What a control function takes is no waiting, and neither is a pause.
func TestLoopWaitsForDataAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{WaitNotice: 5 * time.Second}, nil)
		time.Sleep(3 * time.Second)
		r.do(func() { time.Sleep(time.Minute) })
		time.Sleep(time.Second)
		r.do(func() { r.loop.Pause() })
		time.Sleep(time.Hour)
		r.do(func() { r.loop.Resume() })
		time.Sleep(4 * time.Second)
		r.feed(1)
		r.finish(1)
		r.expect([]string{"waiting", "resumed"})
		if want := 8.0 / 9; math.Abs(r.summary.DataWait-want) > 1e-9 {
			t.Errorf("waited for %v of the time, want 8 of 9 seconds", r.summary.DataWait)
		}
	})
}

func TestLoopPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{CheckpointInterval: 10 * time.Second}, nil)
		r.feed(2)
		r.do(func() {
			r.loop.Pause()
			r.loop.Pause()
		})
		offered := make(chan struct{})
		go func() { r.feed(1); close(offered) }()
		time.Sleep(time.Hour)
		select {
		case <-offered:
			t.Error("a paused loop took a batch")
		default:
		}
		r.do(func() {
			if !r.loop.Paused() || r.loop.Step() != 2 || r.loop.Token().Position != 2 {
				t.Errorf("paused %v, step %d, token %+v", r.loop.Paused(), r.loop.Step(), r.loop.Token())
			}
		})
		r.do(func() { r.loop.Resume() })
		<-offered
		r.finish(3)
		r.expect([]string{"step", "saved"}, "1s: step 1", "2s: step 2", "11s: saved 2", "1h0m3s: step 3", "1h0m3s: saved 3")
	})
}

func TestLoopStopsWhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{}, nil)
		r.feed(2)
		r.do(func() { r.loop.Pause() })
		time.Sleep(time.Minute)
		r.finish(2)
	})
}

// Save from a control function makes the last step durable; what is durable already is not written again.
func TestLoopSavesWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{}, func(_ *rig, h *Hooks) {
			h.Seal = func(*Checkpoint) error { time.Sleep(3 * time.Second); return nil }
		})
		r.feed(2)
		for range 2 {
			r.do(func() {
				name, err := r.loop.Save(t.Context())
				if took := r.loop.SaveTook(); name != "step-000000002" || err != nil || took != 3*time.Second {
					t.Errorf("%q, %v, took %v", name, err, took)
				}
			})
		}
		r.feed(1)
		r.finish(3)
		r.expect([]string{"saved"}, "5s: saved 2", "9s: saved 3")
	})
}

// Control comes before a batch that is ready, so that nobody waits for more than the step in hand.
func TestLoopIsAskedBetweenSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{}, nil)
		go r.feed(20)
		for range 10 {
			began := time.Now()
			r.do(func() {})
			if took := time.Since(began); took > time.Second {
				t.Errorf("a control function waited for %v, a step takes 1s", took)
			}
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		r.finish(20)
	})
}

func TestLoopEndsAtAControlsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("fenced")
		r := newRig(t, LoopOptions{}, nil)
		r.feed(1)
		r.control <- func(context.Context) error { return broken }
		<-r.ended
		if !errors.Is(r.err, broken) || len(r.store.saved) != 0 {
			t.Errorf("%v, checkpoints %v; want %v and none", r.err, r.store.steps(), broken)
		}
	})
}

// A checkpoint by time that cannot be written ends the run, also one that comes due while it waits.
func TestLoopEndsWhereTimeCannotSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{CheckpointInterval: time.Minute}, nil)
		r.feed(1)
		r.do(func() { r.store.err = errors.New("disk full") })
		<-r.ended
		if !errors.Is(r.err, r.store.err) || time.Since(r.start) != time.Minute+time.Second {
			t.Errorf("%v after %v", r.err, time.Since(r.start))
		}
	})
}

// A Control that was closed is no reason to turn in circles or to end.
func TestLoopOutlivesItsControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, LoopOptions{}, nil)
		close(r.control)
		r.feed(2)
		time.Sleep(time.Second)
		synctest.Wait() // it does wait
		r.finish(2)
	})
}

// Without a time in it nothing is divided by it.
func TestLoopMeasuresNothingInNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last StepResult
		r := newRig(t, LoopOptions{}, func(r *rig, h *Hooks) { h.Step = func(s StepResult) error { last = s; return nil } })
		r.do(func() { r.loop.trainer.(*sleeper).step = 0 })
		r.feed(1)
		r.finish(1)
		if last.ImagesPerSecond != 0 || last.DataWait != 0 || r.summary.ImagesPerSecond != 0 {
			t.Errorf("%+v, %+v", last, r.summary)
		}
	})
}
