package drift

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Options says how a stream is watched.
type Options struct {
	Reference int     // windows that the reference is taken over
	Alpha     float64 // significance of one comparison
	Raise     int     // significant windows in a row that raise the alarm
	Clear     int     // other windows in a row that clear it
	Rebase    int     // windows that an alarm lasts until the reference is taken anew; 0: for ever
	Seed      uint64  // of the permutations
}

// permutations are so many that a p-value of half of Alpha can be had.
func (o Options) permutations() int { return int(math.Ceil(2/o.Alpha)) - 1 }

// FalseAlarms bounds how often the alarm is raised, in the mean, among a million samples of a stream that does not drift,
// where a window is so many samples: an alarm needs Raise significant windows of its own, and a window is one with a
// probability of Alpha at most, however the windows hang together through their common reference.
func (o Options) FalseAlarms(window float64) float64 {
	return 1e6 / window * o.Alpha / float64(o.Raise)
}

// State is what goes on from one window to the next, beside the sets.
type State struct {
	Windows   int64   `json:"windows"`            // ended
	Taken     int     `json:"taken"`              // of them in the reference; fewer than Options.Reference: it is being taken
	Alarm     bool    `json:"alarm"`              //
	Streak    int     `json:"streak"`             // windows in a row that speak against Alarm
	Lasted    int     `json:"lasted"`             // windows of the alarm
	LastMMD2  float64 `json:"last_mmd2"`          // of the last comparison
	LastP     float64 `json:"last_p"`             // 0: there was none
	TooFew    int     `json:"too_few,omitempty"`  // sources of the last window that could not be compared for want of them
	Reference int     `json:"reference,omitzero"` // sources of the reference, once it is taken
}

// Windows watches a stream in windows of images: the first ones are the reference, and each later one is compared with
// them. It is used by one goroutine.
type Windows struct {
	options   Options
	state     State
	kept      Set // the reference
	current   Set
	reference *Reference // of kept; nil: not prepared yet
}

// NewWindows watches from the start on.
func NewWindows(o Options) *Windows { return &Windows{options: o} }

// Restore goes on from what State and Sets returned.
func Restore(o Options, s State, kept, current Set) *Windows {
	return &Windows{options: o, state: s, kept: kept, current: current}
}

// State is what Restore needs beside the Sets.
func (w *Windows) State() State { return w.state }

// Sets are the reference and the window that is not ended. They are not copies.
func (w *Windows) Sets() (kept, current *Set) { return &w.kept, &w.current }

// Taking tells whether the reference is being taken.
func (w *Windows) Taking() bool { return w.state.Taken < w.options.Reference }

// Add puts an image's features into the window. The rows of the reference's windows stay apart: a source that sends in two of
// them counts once.
func (w *Windows) Add(source uint64, features []float32) error {
	if w.Taking() {
		return w.kept.Add(source, features)
	}
	return w.current.Add(source, features)
}

// Outcome is what the end of a window brought.
type Outcome struct {
	Result                   // of the comparison
	Compared         bool    // there was one: the reference is taken, and there are sources enough
	Raised, Cleared  bool    // the alarm
	Rebased          bool    // the alarm lasted: the reference is taken anew from the next window on
	ReferenceSources int     // that it is compared with
	Alpha            float64 // that PValue is held against
}

// End ends the window and compares it with the reference, where there is one.
func (w *Windows) End() (Outcome, error) {
	w.state.Windows++
	if w.Taking() {
		err := w.take()
		return Outcome{ReferenceSources: w.state.Reference}, err
	}
	if err := w.prepare(); err != nil {
		return Outcome{}, err
	}
	set := w.current
	w.current = Set{}
	o := Outcome{ReferenceSources: w.reference.Sources(), Alpha: w.options.Alpha}
	if _, sizes := set.units(); !Enough(o.ReferenceSources, len(sizes), w.options.Alpha) {
		w.state.TooFew = max(len(sizes), 1)
		return o, nil
	}
	rng := rand.New(rand.NewPCG(w.options.Seed^0x6472696674, uint64(w.state.Windows))) // "drift"
	var err error
	if o.Result, err = w.reference.Compare(&set, w.options.permutations(), rng); err != nil {
		return o, err
	}
	o.Compared, w.state.TooFew, w.state.LastMMD2, w.state.LastP = true, 0, o.MMD2, o.PValue
	w.judge(&o)
	return o, nil
}

// take ends a window of the reference.
func (w *Windows) take() error {
	w.state.Taken++
	if w.Taking() {
		return nil
	}
	return w.prepare()
}

// prepare makes the reference of what was taken. One of too few sources is taken for longer.
func (w *Windows) prepare() (err error) {
	if w.reference != nil {
		return nil
	}
	if _, sizes := w.kept.units(); len(sizes) < 2 {
		w.state.Taken, w.state.TooFew = w.options.Reference-1, max(len(sizes), 1)
		return nil
	}
	if w.reference, err = NewReference(&w.kept); err != nil {
		return fmt.Errorf("take the reference: %w", err)
	}
	w.state.Reference, w.state.TooFew = w.reference.Sources(), 0
	return nil
}

// judge moves the alarm, with its hysteresis.
func (w *Windows) judge(o *Outcome) {
	s := &w.state
	significant := o.PValue <= w.options.Alpha
	if s.Alarm {
		s.Lasted++
	}
	if significant == s.Alarm {
		s.Streak = 0
	} else {
		s.Streak++
	}
	switch {
	case !s.Alarm && s.Streak >= w.options.Raise:
		s.Alarm, s.Streak, s.Lasted, o.Raised = true, 0, 0, true
	case s.Alarm && s.Streak >= w.options.Clear:
		s.Alarm, s.Streak, s.Lasted, o.Cleared = false, 0, 0, true
	case s.Alarm && w.options.Rebase > 0 && s.Lasted >= w.options.Rebase:
		o.Rebased = true
		w.Rebase()
	}
}

// Rebase takes the reference anew, from the next image on; an alarm ends with that.
func (w *Windows) Rebase() {
	w.state = State{Windows: w.state.Windows}
	w.kept, w.current, w.reference = Set{}, Set{}, nil
}
