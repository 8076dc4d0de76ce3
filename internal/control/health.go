package control

import "time"

// health judges a State.
type health struct {
	stall time.Duration // 0: nothing is a stall
	waits func() bool   // data waits to be trained on; nil: only while the loop does not wait for it
}

// stalled tells whether data waits and nothing was finished for so long that this process will hardly get on again. Who
// waits for data is not stalled, unless there is some.
func (h health) stalled(shot Snapshot) bool {
	if h.stall <= 0 || shot.Progress < h.stall.Seconds() {
		return false
	}
	return shot.State == Training || shot.State == Waiting && h.waits != nil && h.waits()
}

// live tells whether the process is worth keeping, and the word for why.
func live(s Snapshot) (word string, ok bool) {
	if s.Stalled {
		return Stalled, false
	}
	return s.State, true
}

// ready tells whether the daemon trains, or would if there were data or nobody had paused it, and the word for why.
// Paused is ready: it is someone's wish, and no fault that a deployment should be rolled back for.
func ready(s Snapshot) (word string, ok bool) {
	switch {
	case s.Stalled:
		return Stalled, false
	case s.State == Starting || s.State == Standby || s.State == Stopping:
		return s.State, false
	case s.Problem != "":
		return Trouble, false
	}
	return s.State, true
}
