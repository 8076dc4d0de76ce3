package train

import (
	"fmt"
	"math"
)

// ScheduleOptions says how the learning rate moves.
type ScheduleOptions struct {
	Name       string  // cosine, wsd, step or constant
	Base       float64 // learning rate after warm-up
	Warmup     int64   // steps of linear rise from Base/Warmup
	Milestones []int64 // epochs at which "step" multiplies by Gamma
	Gamma      float64
	Decay      int64 // steps at the end over which "wsd" falls to 0

	Steps         int64 // length of the run; cosine and wsd end there. 0: no end, which wsd never falls to
	StepsPerEpoch int64 // for Milestones; 0 when epochs have no meaning
}

// Validate says what a schedule lacks.
func (o ScheduleOptions) Validate() error {
	switch o.Name {
	case "constant":
	case "cosine":
		if o.Steps < 1 {
			return fmt.Errorf("schedule cosine needs an end: set train.steps or train.epochs, or train.schedule.name constant")
		}
	case "wsd":
		if o.Steps > 0 && (o.Decay < 1 || o.Decay > o.Steps-o.Warmup) {
			return fmt.Errorf("schedule wsd falls over %d steps of a run of %d with a warm-up of %d; change train.schedule.decay_steps", o.Decay, o.Steps, o.Warmup)
		}
	case "step":
		if o.StepsPerEpoch < 1 && len(o.Milestones) > 0 {
			return fmt.Errorf("schedule step counts epochs, which a stream has not; use train.schedule.name constant")
		}
	default:
		return fmt.Errorf("unknown schedule %q; use cosine, wsd, step or constant", o.Name)
	}
	return nil
}

// Rate is the learning rate of the step after done finished ones.
func (o ScheduleOptions) Rate(done int64) float64 {
	rate := o.Base
	switch o.Name {
	case "cosine":
		share := math.Min(float64(done)/float64(o.Steps), 1)
		rate *= 0.5 * (1 + math.Cos(math.Pi*share))
	case "wsd":
		if past := done - (o.Steps - o.Decay); o.Steps > 0 && past > 0 {
			rate *= 1 - math.Sqrt(math.Min(float64(past)/float64(o.Decay), 1)) // Hägele et al. 2024, arXiv 2405.18392
		}
	case "step":
		for _, epoch := range o.Milestones {
			if done >= epoch*o.StepsPerEpoch {
				rate *= o.Gamma
			}
		}
	}
	if done < o.Warmup {
		rate *= float64(done+1) / float64(o.Warmup)
	}
	return rate
}
