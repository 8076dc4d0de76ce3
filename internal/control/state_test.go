package control

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// judged is what both probes say.
func judged(s *State) string {
	shot := s.Snapshot()
	l, lok := live(shot)
	r, rok := ready(shot)
	return mark(l, lok) + " " + mark(r, rok)
}

func mark(word string, ok bool) string {
	if ok {
		return word
	}
	return "-" + word
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, queued := NewState(), false
		s.judgedBy(health{stall: time.Minute, waits: func() bool { return queued }}.stalled)
		expect := func(want string) {
			t.Helper()
			if got := judged(s); got != want {
				t.Errorf("after %v: %s, want %s", time.Since(s.now.created), got, want)
			}
		}
		time.Sleep(time.Hour)
		expect("starting -starting") // however long it takes: whoever started it has a limit of its own
		s.Standby(true)
		expect("standby -standby")
		s.Standby(false)
		expect("starting -starting")
		s.Ready()
		expect("training training")
		time.Sleep(59 * time.Second)
		s.Step(1)
		time.Sleep(59 * time.Second)
		s.Progress() // a checkpoint, say
		time.Sleep(59 * time.Second)
		expect("training training")
		time.Sleep(time.Second)
		expect("-stalled -stalled")
		s.Step(2)
		expect("training training")

		s.Waiting(time.Now().Add(-10 * time.Second))
		time.Sleep(24 * time.Hour)
		expect("waiting waiting")
		queued = true
		expect("-stalled -stalled")
		queued = false
		s.Resumed()
		expect("training training") // the batch that came has its minute
		time.Sleep(time.Minute)
		expect("-stalled -stalled")

		s.Paused(true)
		time.Sleep(time.Hour)
		expect("paused paused")
		s.Paused(false)
		expect("training training")
		problem := "credentials expired"
		s.Problem(func() string { return problem })
		expect("training training") // there is data still
		s.Waiting(time.Now())
		expect("waiting -trouble")
		problem = ""
		expect("waiting waiting")
		s.Stopping()
		time.Sleep(time.Hour)
		expect("stopping -stopping")
	})
}

func TestNothingIsAStallWithoutATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState()
		s.judgedBy(health{}.stalled)
		s.Ready()
		time.Sleep(1000 * time.Hour)
		if got := judged(s); got != "training training" {
			t.Error(got)
		}
	})
}

func TestSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := NewState()
		time.Sleep(time.Second)
		s.Ready()
		s.Step(7)
		time.Sleep(time.Second)
		s.Paused(true)
		time.Sleep(time.Second)
		s.Paused(true) // since it was paused, not since it was last asked to
		shot := s.Snapshot()
		if shot.State != Paused || !shot.Since.Equal(start.Add(2*time.Second)) || !shot.Started.Equal(start) ||
			shot.Step != 7 || !shot.LastStep.Equal(start.Add(time.Second)) {
			t.Errorf("%+v", shot)
		}
		text, err := json.Marshal(NewState().Snapshot())
		if err != nil || strings.Contains(string(text), "last_step") {
			t.Errorf("%s, %v; want no time of a step that was not made", text, err)
		}
	})
}
