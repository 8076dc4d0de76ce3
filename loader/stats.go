package loader

import (
	"sync/atomic"
	"time"

	"mocostream/internal/flow"
)

// Stats is what a loader has done so far, waits that still go on included. Durations of reading are summed over
// goroutines, so that Source may grow faster than the clock.
type Stats struct {
	Samples      uint64        // handed out
	Bytes        uint64        // encoded bytes handed out
	Held         int64         // encoded bytes reserved, read, or handed out and not released
	Limit        int64         // what Held is kept below
	BudgetWait   time.Duration // reading ahead stood still because Held was at its limit
	AheadWait    time.Duration // reading ahead stood still because it was as far ahead as it goes
	SourceWait   time.Duration // the sample whose turn it was was not there yet
	ConsumerWait time.Duration // a sample was ready and not taken
	Running      time.Duration // since the order began to be worked out
	Source       time.Duration // inside the source's Read and Next
	Ready        int           // samples in memory, not handed out
	Room         int           // how many there may be, where MemoryLimit allows; 0: not known
	Fetchers     int           // reads that may go on at a time
	// Rereads counts samples that were read by themselves, because shuffle buffer and read-ahead did not fit into the
	// memory limit. When it grows, raise the limit or make the shuffle buffer smaller.
	Rereads uint64
}

// Counts are the two stages of a loader.
func (s Stats) Counts() (fetch, order flow.Counts) {
	return flow.Counts{
			Name: flow.Fetch, Workers: s.Fetchers, Busy: s.Source, WaitOutput: s.BudgetWait + s.AheadWait,
			Queued: s.Ready, Room: s.Room,
		}, flow.Counts{
			Name: flow.Order, Workers: 1, Busy: s.Running - s.SourceWait - s.ConsumerWait,
			WaitInput: s.SourceWait, WaitOutput: s.ConsumerWait,
		}
}

// meter counts for Stats; its methods may be called concurrently.
type meter struct {
	samples, bytes, rereads                                           atomic.Uint64
	budgetWait, aheadWait, sourceWait, consumerWait, running, reading flow.Clock
}

func (m *meter) handedOut(bytes int64) {
	m.samples.Add(1)
	m.bytes.Add(uint64(bytes))
}

func (m *meter) stats(b *budget) Stats {
	s := Stats{
		Samples:      m.samples.Load(),
		Bytes:        m.bytes.Load(),
		BudgetWait:   m.budgetWait.Total(),
		AheadWait:    m.aheadWait.Total(),
		SourceWait:   m.sourceWait.Total(),
		ConsumerWait: m.consumerWait.Total(),
		Running:      m.running.Total(),
		Source:       m.reading.Total(),
		Rereads:      m.rereads.Load(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Held, s.Limit, s.Ready = b.held+b.staged, b.limit, b.ready
	return s
}
