package augment

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"mocostream/internal/flow"
)

// Stats is what a pool has done since it was made, what goes on at present included. Together the times name the
// bottleneck: a pool that waits for output is fast enough; one that waits for input has a slow source; one that waits for
// neither is itself what is slow.
type Stats struct {
	Images uint64            // rendered, bad ones not counted
	Bad    map[string]uint64 // passed over, by DeadLetter.Reason
	Busy   time.Duration     // of all workers together
	// The times during which a worker was idle.
	WaitInput  time.Duration // no sample came: the source or the loader is slow
	WaitOutput time.Duration // all buffers were in use: the trainer is slow
	Workers    int           // that may work at a time
	Queued     int           // samples that wait for a worker
	// The goroutine that keeps the order and fills batches.
	Running   time.Duration // since Run began
	Waiting   time.Duration // of that, with nothing to do
	Delivery  time.Duration // with a whole batch that nobody took
	Delivered int           // whole batches that wait to be taken
	Buffers   int           // batches there may be at once
}

// Counts are the two stages of a pool.
func (s Stats) Counts() (work, batch flow.Counts) {
	return flow.Counts{
			Name: flow.Augment, Workers: s.Workers, Busy: s.Busy, WaitInput: s.WaitInput, WaitOutput: s.WaitOutput,
			Queued: s.Queued, Room: s.Workers + 2,
		}, flow.Counts{
			Name: flow.Batch, Workers: 1, Busy: s.Running - s.Waiting,
			WaitInput: s.Waiting - min(s.Delivery, s.Waiting), WaitOutput: min(s.Delivery, s.Waiting),
			Queued: s.Delivered, Room: s.Buffers,
		}
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
	images            atomic.Uint64
	queued, delivered atomic.Int64

	busy, running, waiting, delivery flow.Clock
	waited                           [waitKinds]flow.Clock // waitNone is not used
	now                              waitKind              // the order's own

	mu       sync.Mutex
	byReason map[string]uint64
}

func newCounters() *counters { return &counters{byReason: map[string]uint64{}} }

func (c *counters) bad(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byReason[reason]++
}

// wait says what idle workers wait for from now on.
func (c *counters) wait(kind waitKind) {
	if kind == c.now {
		return
	}
	if c.now != waitNone {
		c.waited[c.now].End()
	}
	if c.now = kind; kind != waitNone {
		c.waited[kind].Begin()
	}
}

// deliver says how many whole batches wait from now on.
func (c *counters) deliver(batches int) {
	switch before := int(c.delivered.Swap(int64(batches))); {
	case before == 0 && batches > 0:
		c.delivery.Begin()
	case before > 0 && batches == 0:
		c.delivery.End()
	}
}

func (c *counters) reasons() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.byReason)
}

func (c *counters) stats(workers, buffers int) Stats {
	return Stats{
		Images: c.images.Load(), Bad: c.reasons(), Busy: c.busy.Total(),
		WaitInput: c.waited[waitInput].Total(), WaitOutput: c.waited[waitOutput].Total(),
		Workers: workers, Queued: int(c.queued.Load()),
		Running: c.running.Total(), Waiting: c.waiting.Total(), Delivery: c.delivery.Total(),
		Delivered: int(c.delivered.Load()), Buffers: buffers,
	}
}
