package drift_test

import (
	"math/rand/v2"
	"testing"

	"mocostream/train/drift"
)

func options() drift.Options {
	return drift.Options{Reference: 2, Alpha: .001, Raise: 2, Clear: 2, Seed: 1}
}

// window fills and ends one.
func window(t *testing.T, w *drift.Windows, rng *rand.Rand, sources int, shift float64) drift.Outcome {
	t.Helper()
	offset := rng.Uint64() // sources of different windows are different ones
	bursts(rng, sources, shift, func(source uint64, x []float32) {
		if err := w.Add(offset+source, x); err != nil {
			t.Fatal(err)
		}
	})
	o, err := w.End()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Ten long runs of bursts without drift raise no alarm, and one that drifts raises it in the second window after.
func TestAlarmIsForDriftAlone(t *testing.T) {
	o := options()
	const windows = 25
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := drift.NewWindows(o)
		for i := range windows {
			if got := window(t, w, rng, 16, 0); got.Raised || got.Compared != (i >= o.Reference) {
				t.Fatalf("run %d, window %d without drift: %+v", seed, i, got)
			}
		}
		if window(t, w, rng, 16, 2.5).Raised {
			t.Fatalf("run %d: one window raises the alarm", seed)
		}
		if got := window(t, w, rng, 16, 2.5); !got.Raised || !w.State().Alarm {
			t.Fatalf("run %d: two windows after the drift there is no alarm: %+v", seed, got)
		}
	}
}

// What FalseAlarms states holds of many runs, where the windows of a run share a reference.
func TestFalseAlarmsAreAsStated(t *testing.T) {
	o := options()
	o.Alpha, o.Raise, o.Clear, o.Reference = .1, 2, 1, 1
	const runs, windows, samples = 60, 20, 1000
	alarms := 0
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 8))
		w := drift.NewWindows(o)
		for range windows + o.Reference {
			if window(t, w, rng, 10, 0).Raised {
				alarms++
			}
		}
	}
	stated := o.FalseAlarms(samples) * runs * windows * samples / 1e6
	if float64(alarms) > stated {
		t.Errorf("%d false alarms, stated are at most %.0f in the mean", alarms, stated)
	}
	if alarms == 0 {
		t.Error("no false alarm at a level of 10 %: the simulation shows nothing")
	}
}

func TestAlarmClears(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 0))
	w := drift.NewWindows(options())
	var told []string
	for _, shift := range []float64{0, 0, 0, 3, 3, 3, 0, 3, 0, 0, 0} {
		o := window(t, w, rng, 16, shift)
		switch {
		case o.Raised:
			told = append(told, "raised")
		case o.Cleared:
			told = append(told, "cleared")
		default:
			told = append(told, "")
		}
	}
	want := []string{"", "", "", "", "raised", "", "", "", "", "cleared", ""}
	for i := range want {
		if told[i] != want[i] {
			t.Fatalf("told %q, want %q", told, want)
		}
	}
}

// An alarm that lasts is the new normal, if that is asked for.
func TestReferenceIsTakenAnew(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 0))
	o := options()
	o.Rebase = 2
	w := drift.NewWindows(o)
	for i, shift := range []float64{0, 0, 0, 3, 3, 3, 3} {
		if got := window(t, w, rng, 16, shift); got.Raised != (i == 4) || got.Rebased != (i == 6) {
			t.Fatalf("window %d: %+v", i, got)
		}
	}
	if s := w.State(); s.Alarm || !w.Taking() || s.Windows != 7 {
		t.Fatalf("after it: %+v", s)
	}
	for i := range 4 {
		if got := window(t, w, rng, 16, 3); got.Compared != (i >= 2) || got.Raised {
			t.Fatalf("window %d of the new reference: %+v", i, got)
		}
	}
}

// Partitions that are always the same few give nothing to exchange: that is said, and nothing is judged.
func TestTooFewSources(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	w := drift.NewWindows(options())
	for range 2 {
		window(t, w, rng, 1, 0)
	}
	for range 3 {
		if o := window(t, w, rng, 3, 3); o.Compared || w.State().TooFew != 3 {
			t.Fatalf("%+v, %+v", o, w.State())
		}
	}
	w = drift.NewWindows(options())
	if window(t, w, rng, 0, 0); w.State().TooFew != 1 && !w.Taking() {
		t.Fatalf("a window without images: %+v", w.State())
	}
}

// A monitor that is stopped anywhere and restored goes on as if it had not been.
func TestRestoreGoesOn(t *testing.T) {
	shifts := []float64{0, 0, 0, 3, 3, 0, 0, 0}
	run := func(restore bool) []drift.Outcome {
		rng := rand.New(rand.NewPCG(12, 0))
		w := drift.NewWindows(options())
		var all []drift.Outcome
		for _, shift := range shifts {
			bursts(rng, 8, shift, func(source uint64, x []float32) {
				if err := w.Add(source, x); err != nil {
					t.Fatal(err)
				}
				if restore {
					kept, current := w.Sets()
					w = drift.Restore(options(), w.State(), *kept, *current)
				}
			})
			o, err := w.End()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, o)
		}
		return all
	}
	whole, pieces := run(false), run(true)
	for i := range whole {
		if whole[i] != pieces[i] {
			t.Errorf("window %d: %+v whole, %+v in pieces", i, whole[i], pieces[i])
		}
	}
}
