package monitor_test

import (
	"encoding/json"
	"math"
	"testing"

	"mocostream/train"
	"mocostream/train/monitor"
)

func limits() monitor.Limits {
	return monitor.Limits{After: 100, MinSpread: .2, MinRank: 2, MinMargin: .05}
}

func healthy(step int64) train.StepResult {
	return train.StepResult{Step: step, Spread: .9, EffectiveRank: 12, Positive: .8, Negative: .1}
}

// One line when a figure falls, whatever single steps say, and one when it is well again.
func TestCollapseIsToldOnce(t *testing.T) {
	for name, fall := range map[string]func(r *train.StepResult, to float64){
		monitor.Spread: func(r *train.StepResult, to float64) { r.Spread = .2 * to },
		monitor.Rank:   func(r *train.StepResult, to float64) { r.EffectiveRank = 2 * to },
		monitor.Margin: func(r *train.StepResult, to float64) { r.Negative = r.Positive - .05*to },
	} {
		c := monitor.NewCollapse(limits(), monitor.CollapseState{})
		var told []monitor.Event
		for step := int64(1); step <= 3000; step++ {
			r := healthy(step)
			switch {
			case step <= 100: // a run begins like this
				fall(&r, 0)
			case step == 200:
				fall(&r, 0)
			case step > 500 && step < 1000:
				fall(&r, .5)
			case step >= 1000 && step < 2000: // trembles around the limit
				fall(&r, 1+.2*math.Sin(float64(step)/100))
			}
			told = append(told, c.Step(r)...)
		}
		if len(told) != 2 || told[0].Alarm != name || !told[0].Raised || told[1].Raised || told[0].Text == "" ||
			told[0].Step < 510 || told[0].Step > 999 || told[1].Step < 2000 {
			t.Errorf("%s: told %+v", name, told)
		}
	}
}

func TestCollapseBearsNumbersThatAreNone(t *testing.T) {
	c := monitor.NewCollapse(limits(), monitor.CollapseState{})
	for step := int64(101); step < 400; step++ {
		r := healthy(step)
		if step%7 == 0 {
			r.Spread, r.Positive = math.NaN(), math.Inf(-1)
		}
		if step%5 == 0 {
			r.Spread, r.Discarded = 0, true
		}
		if e := c.Step(r); len(e) > 0 {
			t.Fatalf("step %d: %+v", step, e)
		}
	}
	if c.Step(train.StepResult{Step: 1000}); math.IsNaN(c.State().Mean[monitor.Spread]) {
		t.Error("the mean is no number any more")
	}
}

func TestNoLimitNoAlarm(t *testing.T) {
	c := monitor.NewCollapse(monitor.Limits{}, monitor.CollapseState{})
	for step := int64(1); step < 300; step++ {
		if e := c.Step(train.StepResult{Step: step}); len(e) > 0 {
			t.Fatalf("%+v", e)
		}
	}
}

// An alarm that was told is not told again by the process that goes on from a checkpoint.
func TestCollapseGoesOnFromItsState(t *testing.T) {
	run := func(resumed bool) (steps []int64) {
		c := monitor.NewCollapse(limits(), monitor.CollapseState{})
		for step := int64(1); step <= 1200; step++ {
			r := healthy(step)
			if step > 300 && step < 700 {
				r.Spread = .05
			}
			for _, e := range c.Step(r) {
				steps = append(steps, e.Step)
			}
			if resumed {
				text, err := json.Marshal(c.State())
				if err != nil {
					t.Fatal(err)
				}
				var state monitor.CollapseState
				if err := json.Unmarshal(text, &state); err != nil {
					t.Fatal(err)
				}
				c = monitor.NewCollapse(limits(), state)
			}
		}
		return steps
	}
	whole, pieces := run(false), run(true)
	if len(whole) != 2 || len(pieces) != 2 || whole[0] != pieces[0] || whole[1] != pieces[1] {
		t.Errorf("told at %v in one go, at %v in pieces", whole, pieces)
	}
}

func TestBackwardTransfer(t *testing.T) {
	f := monitor.NewForgetting([]string{"spring", "summer", "autumn"}, nil)
	for _, r := range []train.ProbeResult{
		{Step: 10, Probe: "spring", Top1: .5}, {Step: 10, Probe: "summer", Top1: .2},
		{Step: 20, Probe: "spring", Top1: .4}, {Step: 20, Probe: "summer", Top1: .6},
	} {
		f.Probe(r)
		if _, known := f.BackwardTransfer(); known {
			t.Error("known before every probe was asked")
		}
	}
	f.Probe(train.ProbeResult{Step: 20, Probe: "autumn", Top1: .9})
	f = monitor.NewForgetting([]string{"spring", "summer", "autumn"}, f.State())
	f.Probe(train.ProbeResult{Step: 30, Probe: "autumn", Top1: .1}) // of the present phase
	if got, known := f.BackwardTransfer(); !known || math.Abs(got+.05) > 1e-12 {
		t.Errorf("backward transfer %v, want (-.1 + 0) / 2", got)
	}
	if s := f.State()["spring"]; s != (monitor.ProbeState{Last: .4, LastStep: 20, Best: .5, BestStep: 10}) {
		t.Errorf("%+v", s)
	}
	one := monitor.NewForgetting([]string{"all"}, f.State())
	one.Probe(train.ProbeResult{Probe: "all", Top1: 1})
	if _, known := one.BackwardTransfer(); known || len(one.State()) != 1 {
		t.Errorf("of one probe: %v", one.State())
	}
}
