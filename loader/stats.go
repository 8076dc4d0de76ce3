package loader

import (
	"sync/atomic"
	"time"
)

// Stats is what a loader has done so far. Durations are summed over goroutines, so that Source may grow faster than
// the clock.
type Stats struct {
	Samples      uint64        // handed out
	Bytes        uint64        // encoded bytes handed out
	Held         int64         // encoded bytes reserved, read, or handed out and not released
	Limit        int64         // what Held is kept below
	BudgetWait   time.Duration // reading ahead stood still because Held was at its limit
	ConsumerWait time.Duration // a sample was ready and not taken
	Source       time.Duration // inside the source's Read and Next
	// Rereads counts samples that were read by themselves, because shuffle buffer and read-ahead did not fit into the
	// memory limit. When it grows, raise the limit or make the shuffle buffer smaller.
	Rereads uint64
}

// meter counts for Stats; its methods may be called concurrently.
type meter struct {
	samples, bytes, rereads          atomic.Uint64
	budgetWait, consumerWait, source atomic.Int64 // nanoseconds
}

func (m *meter) handedOut(bytes int64) {
	m.samples.Add(1)
	m.bytes.Add(uint64(bytes))
}

// since adds the time that passed; for use with defer.
func since(total *atomic.Int64, start time.Time) { total.Add(int64(time.Since(start))) }

func (m *meter) stats(b *budget) Stats {
	s := Stats{
		Samples:      m.samples.Load(),
		Bytes:        m.bytes.Load(),
		BudgetWait:   time.Duration(m.budgetWait.Load()),
		ConsumerWait: time.Duration(m.consumerWait.Load()),
		Source:       time.Duration(m.source.Load()),
		Rereads:      m.rereads.Load(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Held, s.Limit = b.held+b.staged, b.limit
	return s
}
