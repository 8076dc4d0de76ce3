package monitor

import "mocostream/train"

// ProbeState is how a probe was answered so far.
type ProbeState struct {
	Last     float64 `json:"last"` // k-NN top-1, 0 to 1
	LastStep int64   `json:"last_step"`
	Best     float64 `json:"best"`
	BestStep int64   `json:"best_step"`
}

// Forgetting follows probes over a run. Where they are of the phases of a stream, in their order, it tells what was
// forgotten.
type Forgetting struct {
	order []string
	state map[string]ProbeState
}

// NewForgetting follows the probes of these names, in the order of their phases, from the start or from a State on.
func NewForgetting(order []string, from map[string]ProbeState) *Forgetting {
	f := &Forgetting{order: order, state: map[string]ProbeState{}}
	for _, name := range order {
		if s, ok := from[name]; ok {
			f.state[name] = s
		}
	}
	return f
}

// State is what NewForgetting goes on from.
func (f *Forgetting) State() map[string]ProbeState { return f.state }

// Probe notes an evaluation.
func (f *Forgetting) Probe(r train.ProbeResult) {
	s, known := f.state[r.Probe]
	s.Last, s.LastStep = r.Top1, r.Step
	if !known || r.Top1 > s.Best {
		s.Best, s.BestStep = r.Top1, r.Step
	}
	f.state[r.Probe] = s
}

// BackwardTransfer is the mean, over all probes but the last of the order, of their last answer less their best: 0 where
// nothing was forgotten, below it otherwise (after Lopez-Paz and Ranzato, arXiv 1706.08840, with the best in place of the
// answer right after the phase, since nobody says when a phase of a stream ends). False with fewer than two probes, or
// before each was asked.
func (f *Forgetting) BackwardTransfer() (float64, bool) {
	if len(f.order) < 2 || len(f.state) < len(f.order) {
		return 0, false
	}
	sum := 0.0
	earlier := f.order[:len(f.order)-1]
	for _, name := range earlier {
		sum += f.state[name].Last - f.state[name].Best
	}
	return sum / float64(len(earlier)), true
}
