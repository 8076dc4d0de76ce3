package control

import (
	"sync"
	"time"
)

// State is what a daemon is doing: its loop tells, probes and /status ask. It starts out as "starting". Its methods may be
// called concurrently and never block.
type State struct {
	mu       sync.Mutex
	now      facts
	judge    func(Snapshot) (stalled bool) // of the Server that answers for it; nil: nothing is a stall
	progress time.Time                     // when something that counts as getting on was last finished
	changed  chan struct{}                 // holds one token when what systemd shows is out of date
}

// facts are what the loop told; zero times stand for no.
type facts struct {
	created, standby, ready, waiting, paused, stopping time.Time

	step    int64
	stepped time.Time
	problem func() string // nil: nobody knows of any
}

// NewState is the state of a daemon that is starting.
func NewState() *State {
	s := &State{changed: make(chan struct{}, 1)}
	s.now.created = time.Now()
	s.progress = s.now.created
	return s
}

// Standby says that this process waits for the run's lock, which another one holds, or has got it.
func (s *State) Standby(standby bool) {
	s.set(func(f *facts, now time.Time) { since(&f.standby, standby, now) })
}

// Ready says that everything is open and compiled and that training begins; a stall is counted from here.
func (s *State) Ready() {
	s.set(func(f *facts, now time.Time) { since(&f.ready, true, now) })
}

// Step says that a step was finished, the step-th of the run.
func (s *State) Step(step int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.step, s.now.stepped = step, time.Now()
	s.progress = s.now.stepped
}

// Progress says that something other than a step was finished that may take as long as a stall: a checkpoint, a probe, an
// export.
func (s *State) Progress() { s.set(func(*facts, time.Time) {}) }

// Waiting says that no batch came since then; Resumed that one came.
func (s *State) Waiting(since time.Time) {
	s.set(func(f *facts, _ time.Time) { f.waiting = since })
}

// Resumed ends Waiting.
func (s *State) Resumed() {
	s.set(func(f *facts, _ time.Time) { f.waiting = time.Time{} })
}

// Paused says that training was paused, or goes on.
func (s *State) Paused(paused bool) {
	s.set(func(f *facts, now time.Time) { since(&f.paused, paused, now) })
}

// Stopping says that the run is ending.
func (s *State) Stopping() {
	s.set(func(f *facts, now time.Time) { since(&f.stopping, true, now) })
}

// Problem has every Snapshot of a daemon that waits for data ask what keeps the source from working while it tries again
// (credentials that have expired, a broker that cannot be reached); "" is nothing. The answer must hold no secret.
func (s *State) Problem(ask func() string) {
	s.set(func(f *facts, _ time.Time) { f.problem = ask })
}

// since keeps in t since when something is so.
func since(t *time.Time, is bool, now time.Time) {
	switch {
	case !is:
		*t = time.Time{}
	case t.IsZero():
		*t = now
	}
}

func (s *State) set(change func(f *facts, now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = time.Now()
	change(&s.now, s.progress)
	select {
	case s.changed <- struct{}{}:
	default: // it is out of date already
	}
}

func (s *State) judgedBy(judge func(Snapshot) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge = judge
}

// Words for what a daemon is doing, in Snapshot and in the answers to probes.
const (
	Starting = "starting"
	Standby  = "standby" // for another process to end
	Training = "training"
	Waiting  = "waiting" // for data
	Paused   = "paused"
	Stopping = "stopping"
	Stalled  = "stalled" // data waits and no step is finished
	Trouble  = "trouble" // State.Problem
)

// Snapshot is a State as of one moment.
type Snapshot struct {
	State    string    `json:"state"` // starting, standby, training, waiting, paused or stopping
	Since    time.Time `json:"since"` // that it is in this state
	Started  time.Time `json:"started"`
	Step     int64     `json:"step"`                 // the last one that this process finished; 0: none yet
	LastStep time.Time `json:"last_step,omitzero"`   // when
	Problem  string    `json:"problem,omitempty"`    // see State.Problem
	Stalled  bool      `json:"stalled,omitempty"`    // see Options.StallTimeout
	Progress float64   `json:"progress_age_seconds"` // since anything was finished
}

// Snapshot returns the state as of now.
func (s *State) Snapshot() Snapshot {
	s.mu.Lock()
	shot, judge, problem := s.shot(), s.judge, s.now.problem
	s.mu.Unlock()
	if shot.State == Waiting && problem != nil {
		shot.Problem = problem()
	}
	shot.Stalled = judge != nil && judge(shot)
	return shot
}

// shot is the Snapshot without its judgement; s.mu is held.
func (s *State) shot() Snapshot {
	f := &s.now
	shot := Snapshot{
		Started: f.created, Step: f.step, LastStep: f.stepped,
		Progress: time.Since(s.progress).Seconds(),
	}
	switch {
	case !f.stopping.IsZero():
		shot.State, shot.Since = Stopping, f.stopping
	case !f.standby.IsZero():
		shot.State, shot.Since = Standby, f.standby
	case f.ready.IsZero():
		shot.State, shot.Since = Starting, f.created
	case !f.paused.IsZero():
		shot.State, shot.Since = Paused, f.paused
	case !f.waiting.IsZero():
		shot.State, shot.Since = Waiting, f.waiting
	default:
		shot.State, shot.Since = Training, f.ready
	}
	return shot
}
