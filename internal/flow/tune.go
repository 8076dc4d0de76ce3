package flow

import (
	"fmt"
	"math"
)

// Setting is how many work at a time.
type Setting struct{ Workers, Fetchers int }

// Tuner chooses the numbers of workers and fetchers by what they are needed for. It begins with all the workers that it
// may use, and takes away what a trainer that never waits has no use for: idle workers wake up all at once whenever a
// batch is taken, just when the device's driver needs a processor. Fetchers only ever become more, since one that
// waits costs nothing.
type Tuner struct {
	MaxWorkers   int // loader.cpu_limit, or loader.workers where that is fixed
	FixedWorkers bool
	MaxFetchers  int // as Fetchers at the start, where that is fixed

	least int // workers that were too few once, plus 1
}

const (
	spare = 1.25 // workers kept for each that was busy
	idle  = 0.5  // share of the time without a free batch from which on there are workers to spare
)

// Tune returns what to go on with after now, and why that is something else; "" when it is not. The figures are of a time
// in which now was the setting.
func (t *Tuner) Tune(f Figures, now Setting) (next Setting, why string) {
	work, _ := f.Stage(Augment)
	fetch, _ := f.Stage(Fetch)
	device, trains := f.Stage(Device)
	starved := !trains || device.WaitInput >= Starved
	next = now
	switch {
	case starved && work.Busy >= full && now.Workers < t.MaxWorkers && !t.FixedWorkers:
		next.Workers = min(t.MaxWorkers, now.Workers+max(1, now.Workers/2))
		t.least = now.Workers + 1
		return next, fmt.Sprintf("%s workers busy, and there are too few batches", of(work))
	case starved && work.WaitInput >= Starved && fetch.Busy >= full && f.Memory < Starved && now.Fetchers < t.MaxFetchers:
		next.Fetchers = min(t.MaxFetchers, 2*now.Fetchers)
		return next, fmt.Sprintf("%s readers busy, and workers wait for images %.0f %% of the time", of(fetch), 100*work.WaitInput)
	case trains && !starved && work.WaitOutput >= idle && !t.FixedWorkers:
		need := int(math.Ceil(spare * work.Busy * float64(now.Workers)))
		if next.Workers = max(need, t.least, 1); next.Workers < now.Workers {
			return next, fmt.Sprintf("%s workers busy, and the trainer does not wait", of(work))
		}
		next.Workers = now.Workers
	}
	return next, ""
}
