package augment

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is what a pool has done since it was made. Together the times name the bottleneck: a pool that waits for output is
// fast enough; one that waits for input has a slow source; one that waits for neither is itself what is slow.
type Stats struct {
	Images uint64            // rendered, bad ones not counted
	Bad    map[string]uint64 // passed over, by DeadLetter.Reason
	Busy   time.Duration     // of all workers together
	// The times during which a worker was idle, the present moment included.
	WaitInput  time.Duration // no sample came: the source or the loader is slow
	WaitOutput time.Duration // all buffers were in use: the trainer is slow
	Workers    int
}

type waitKind int

const (
	waitNone waitKind = iota
	waitInput
	waitOutput
	waitKinds
)

// counters are written by an order and its workers and read by anyone.
type counters struct {
	images atomic.Uint64
	busy   atomic.Int64

	mu       sync.Mutex
	byReason map[string]uint64
	waited   [waitKinds]time.Duration
	now      waitKind
	since    time.Time
}

func newCounters() *counters { return &counters{byReason: map[string]uint64{}} }

func (c *counters) bad(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byReason[reason]++
}

// wait says what idle workers wait for from now on.
func (c *counters) wait(kind waitKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kind == c.now {
		return
	}
	t := time.Now()
	c.waited[c.now] += t.Sub(c.since)
	c.now, c.since = kind, t
}

func (c *counters) stats(workers int) Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := c.waited
	if c.now != waitNone {
		waited[c.now] += time.Since(c.since)
	}
	return Stats{
		Images:     c.images.Load(),
		Bad:        maps.Clone(c.byReason),
		Busy:       time.Duration(c.busy.Load()),
		WaitInput:  waited[waitInput],
		WaitOutput: waited[waitOutput],
		Workers:    workers,
	}
}
