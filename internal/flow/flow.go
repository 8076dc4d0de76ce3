// Package flow says which stage of a pipeline is what the others wait for, and what would help. The stages count; their
// counts of two moments make the Figures of the time between, and those are judged in words and tuned by.
package flow

import (
	"time"
)

// Names of the stages, in the order in which images pass them.
const (
	Fetch   = "fetch"   // reads the source ahead
	Order   = "order"   // hands samples out in training order
	Augment = "augment" // decodes and renders views
	Batch   = "batch"   // puts views into batches
	Device  = "device"  // trains
)

// Counts are what one stage has done since it was started, waits that still go on included.
type Counts struct {
	Name    string
	Workers int           // goroutines that do its work; for Fetch reads that may go on at a time
	Busy    time.Duration // of all workers together
	// WaitInput and WaitOutput are when it had nothing to do, and when nobody took what it had done.
	WaitInput, WaitOutput time.Duration
	// Queued is how much lies done behind the stage now, Room how much of that there may be (0: not known): images for
	// the first three stages, batches for Batch.
	Queued, Room int
}

// Totals are the counts of all stages at one moment. Device may be missing: nobody trains then.
type Totals struct {
	At     time.Time
	Stages []Counts
	// Memory is how long reading stood still because loader.memory_limit was reached.
	Memory time.Duration
}

// Stage is what one stage did in a span of time. Shares are of that time, 0..1.
type Stage struct {
	Name       string  `json:"stage"`
	Workers    int     `json:"workers"`
	Busy       float64 `json:"busy"` // of all workers' time
	WaitInput  float64 `json:"wait_input"`
	WaitOutput float64 `json:"wait_output"`
	Queued     int     `json:"queued"`
	Room       int     `json:"room,omitempty"`
}

// Figures are the stages of a span of time.
type Figures struct {
	Seconds float64 `json:"seconds"`
	Stages  []Stage `json:"stages"`
	Memory  float64 `json:"wait_memory"` // share of the time in which reading stood still at loader.memory_limit
}

// Since works out what happened after before. Both have the same stages.
func (t Totals) Since(before Totals) Figures {
	wall := t.At.Sub(before.At)
	share := func(now, then time.Duration) float64 {
		if wall <= 0 {
			return 0
		}
		return min(max((now-then).Seconds()/wall.Seconds(), 0), 1)
	}
	f := Figures{Seconds: wall.Seconds(), Memory: share(t.Memory, before.Memory)}
	for i, now := range t.Stages {
		then, workers := before.Stages[i], time.Duration(max(now.Workers, 1))
		f.Stages = append(f.Stages, Stage{
			Name: now.Name, Workers: now.Workers, Busy: share(now.Busy/workers, then.Busy/workers),
			WaitInput: share(now.WaitInput, then.WaitInput), WaitOutput: share(now.WaitOutput, then.WaitOutput),
			Queued: now.Queued, Room: now.Room,
		})
	}
	return f
}

// Stage returns the stage of a name, and whether there is one.
func (f Figures) Stage(name string) (Stage, bool) {
	for _, s := range f.Stages {
		if s.Name == name {
			return s, true
		}
	}
	return Stage{}, false
}
