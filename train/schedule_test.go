package train

import (
	"math"
	"testing"
)

func TestRate(t *testing.T) {
	cosine := ScheduleOptions{Name: "cosine", Base: .06, Warmup: 10, Steps: 100}
	step := ScheduleOptions{Name: "step", Base: .03, Warmup: 4, Milestones: []int64{120, 160}, Gamma: .1, StepsPerEpoch: 10}
	wsd := ScheduleOptions{Name: "wsd", Base: .4, Warmup: 4, Steps: 100, Decay: 16}
	endless := ScheduleOptions{Name: "wsd", Base: .4, Warmup: 4}
	constant := ScheduleOptions{Name: "constant", Base: 2, Warmup: 4}
	for _, c := range []struct {
		name string
		o    ScheduleOptions
		done int64
		want float64
	}{
		{"cosine, first step", cosine, 0, .06 * .1},
		{"cosine, in warm-up", cosine, 5, .06 * .6 * (1 + .98768834059513777) / 2},
		{"cosine, last step of warm-up", cosine, 9, .06 * (1 + .96029368567694307) / 2},
		{"cosine, after warm-up", cosine, 10, .06 * (1 + .95105651629515353) / 2},
		{"cosine, quarter", cosine, 25, .06 * .85355339059327373},
		{"cosine, half", cosine, 50, .03},
		{"cosine, last step", cosine, 99, .06 * (1 - .99950656036573160) / 2},
		{"cosine, end", cosine, 100, 0},
		{"cosine, beyond", cosine, 1000, 0},
		{"step, first", step, 0, .03 / 4},
		{"step, warm", step, 3, .03},
		{"step, before the first milestone", step, 1199, .03},
		{"step, at the first milestone", step, 1200, .003},
		{"step, before the second", step, 1599, .003},
		{"step, at the second", step, 1600, .0003},
		{"wsd, first", wsd, 0, .1},
		{"wsd, stable", wsd, 4, .4},
		{"wsd, last stable step", wsd, 83, .4},
		{"wsd, first step of the decay", wsd, 84, .4},
		{"wsd, second", wsd, 85, .4 * .75},
		{"wsd, quarter", wsd, 88, .2},
		{"wsd, nine sixteenths", wsd, 93, .1},
		{"wsd, last step", wsd, 99, .4 * (1 - .96824583655185422)},
		{"wsd, end", wsd, 100, 0},
		{"wsd, beyond", wsd, 1000, 0},
		{"wsd without end, first", endless, 0, .1},
		{"wsd without end, for ever", endless, 1 << 40, .4},
		{"constant, first", constant, 0, .5},
		{"constant, third", constant, 2, 1.5},
		{"constant, warm", constant, 4, 2},
		{"constant, for ever", constant, 1 << 40, 2},
		{"constant, no warm-up", ScheduleOptions{Name: "constant", Base: 2}, 0, 2},
	} {
		if got := c.o.Rate(c.done); math.Abs(got-c.want) > 1e-14 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestScheduleValidate(t *testing.T) {
	for _, c := range []struct {
		o    ScheduleOptions
		want string // "": valid
	}{
		{ScheduleOptions{Name: "constant"}, ""},
		{ScheduleOptions{Name: "cosine", Steps: 1}, ""},
		{ScheduleOptions{Name: "cosine"}, "schedule cosine needs an end: set train.steps or train.epochs, or train.schedule.name constant"},
		{ScheduleOptions{Name: "wsd"}, ""},
		{ScheduleOptions{Name: "wsd", Steps: 10, Warmup: 2, Decay: 8}, ""},
		{
			ScheduleOptions{Name: "wsd", Steps: 10, Warmup: 2, Decay: 9},
			"schedule wsd falls over 9 steps of a run of 10 with a warm-up of 2; change train.schedule.decay_steps",
		},
		{
			ScheduleOptions{Name: "wsd", Steps: 10},
			"schedule wsd falls over 0 steps of a run of 10 with a warm-up of 0; change train.schedule.decay_steps",
		},
		{ScheduleOptions{Name: "step", StepsPerEpoch: 5, Milestones: []int64{1}}, ""},
		{ScheduleOptions{Name: "step"}, ""},
		{
			ScheduleOptions{Name: "step", Milestones: []int64{1}},
			"schedule step counts epochs, which a stream has not; use train.schedule.name constant",
		},
		{ScheduleOptions{Name: "linear"}, `unknown schedule "linear"; use cosine, wsd, step or constant`},
		{ScheduleOptions{}, `unknown schedule ""; use cosine, wsd, step or constant`},
	} {
		err := c.o.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%+v: got %v, want %q", c.o, err, c.want)
		}
	}
}
