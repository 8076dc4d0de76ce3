package train

import (
	"fmt"
	"math"
)

// ScheduleOptions says how the learning rate moves.
type ScheduleOptions struct {
	Name       string  // cosine, step or constant
	Base       float64 // learning rate after warm-up
	Warmup     int64   // steps of linear rise from Base/Warmup
	Milestones []int64 // epochs at which "step" multiplies by Gamma
	Gamma      float64

	Steps         int64 // length of the run; cosine ends there
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
	case "step":
		if o.StepsPerEpoch < 1 && len(o.Milestones) > 0 {
			return fmt.Errorf("schedule step counts epochs, which a stream has not; use train.schedule.name constant")
		}
	default:
		return fmt.Errorf("unknown schedule %q; use cosine, step or constant", o.Name)
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
