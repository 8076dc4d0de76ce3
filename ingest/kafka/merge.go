package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// merge orders samples by (offset, source, partition). Its fields are Next's alone, except retired.
type merge struct {
	r       *reader
	using   sync.Mutex // by Next and, in the end, Close
	builder *ingest.Builder
	heads   map[*partition]*head

	mu      sync.Mutex
	retired []*partition
}

// head is what is known of a partition that was not handed out yet.
type head struct {
	chunk  *chunk // nil: none
	row    int    // next of it
	offset int64  // of that row; without a chunk, no sample to come is before it
	late   bool   // gone on without: not waited for until it comes
}

func newMerge(r *reader) *merge {
	return &merge{r: r, builder: ingest.NewBuilder(r.o.Mem), heads: map[*partition]*head{}}
}

// retire forgets a partition whose topic is no more.
func (m *merge) retire(p *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = append(m.retired, p)
}

// next returns a record of the samples that are in turn.
func (m *merge) next(ctx context.Context) (arrow.Record, error) {
	m.using.Lock()
	defer m.using.Unlock()
	for {
		select {
		case <-m.r.closed:
			return nil, net.ErrClosed
		default:
		}
		m.update()
		first, missing := m.first()
		full := m.builder.Bytes() >= chunkBytes || m.builder.Len() >= chunkRows
		if first != nil && missing == nil && !full {
			m.takeRow(first)
			continue
		}
		if m.builder.Len() > 0 { // full, or the next in turn is to be waited for
			return m.builder.Record(), nil
		}
		if err := m.wait(ctx, first, missing); err != nil {
			return nil, err
		}
		if first == nil && len(m.r.passed) > 0 {
			return m.builder.Record(), nil // without rows, to have them taken
		}
	}
}

// update learns of partitions that began or ended.
func (m *merge) update() {
	m.mu.Lock()
	retired := m.retired
	m.retired = nil
	m.mu.Unlock()
	m.r.mu.Lock()
	for _, p := range m.r.partitions {
		if m.heads[p] == nil {
			m.heads[p] = &head{}
		}
	}
	m.r.mu.Unlock()
	for _, p := range retired {
		if h := m.heads[p]; h != nil && h.chunk != nil {
			m.done(p, h)
		}
		delete(m.heads, p)
	}
}

// first returns the partition whose sample is next in turn among those that have one, nil without any, and the one that
// may still bring an earlier sample, which must be waited for.
func (m *merge) first() (first, missing *partition) {
	for p, h := range m.heads {
		if h.chunk != nil && (first == nil || m.before(p, first)) {
			first = p
		}
	}
	if first == nil {
		return nil, nil
	}
	for p, h := range m.heads {
		if h.chunk == nil && !h.late && m.before(p, first) && (missing == nil || m.before(p, missing)) {
			missing = p
		}
	}
	return first, missing
}

func (m *merge) before(a, b *partition) bool {
	if x, y := m.heads[a].offset, m.heads[b].offset; x != y {
		return x < y
	}
	if a.source != b.source {
		return strings.Compare(a.source, b.source) < 0
	}
	return a.number < b.number
}

// wait receives one chunk; with a sample in turn, no longer than the timeout for a missing partition.
func (m *merge) wait(ctx context.Context, first, missing *partition) error {
	var late <-chan time.Time
	if missing != nil {
		missing.urgent.Store(true)
		defer missing.urgent.Store(false)
		m.r.memory.hurry()
		m.r.slots.hurry()
		timer := time.NewTimer(m.r.o.MergeTimeout)
		defer timer.Stop()
		late = timer.C
	}
	for {
		c, err := m.r.receive(ctx, late)
		if errors.Is(err, errLate) {
			m.goOnWithout(missing)
			return nil
		}
		if err != nil {
			return err
		}
		m.receive(c)
		if missing == nil || c.partition == missing {
			return nil
		}
	}
}

func (m *merge) goOnWithout(p *partition) {
	m.heads[p].late = true
	m.r.mergeTimeouts.Add(1)
	m.r.o.Warn(fmt.Sprintf("kafka topic %q partition %d: no record came within %v (ingest.kafka.merge_timeout): going on without it; "+
		"the order, and so the bits of the weights, depend on time now", p.topic, p.number, m.r.o.MergeTimeout))
}

// receive takes a chunk in.
func (m *merge) receive(c *chunk) {
	m.r.pass(c.passed)
	c.passed = nil
	h := m.heads[c.partition]
	if h == nil {
		h = &head{}
		m.heads[c.partition] = h
	}
	h.chunk, h.row, h.late = c, 0, false
	m.settle(c.partition, h)
}

// settle sets the offset of a head, and is done with a chunk that has no more rows.
func (m *merge) settle(p *partition, h *head) {
	if h.row < int(h.chunk.record.NumRows()) {
		h.offset = h.chunk.record.Column(ingest.ColOffset).(*array.Int64).Value(h.row)
		p.stats.handedOut(h.offset)
		return
	}
	h.offset = h.chunk.next
	p.stats.handedOut(h.offset)
	m.done(p, h)
}

// done gives a chunk back and lets the next one come.
func (m *merge) done(p *partition, h *head) {
	h.chunk.record.Release()
	h.chunk.release()
	h.chunk = nil
	<-p.turn
}

// takeRow appends the next sample of p to the record that is being made.
func (m *merge) takeRow(p *partition) {
	h := m.heads[p]
	m.builder.Append(rowOf(h.chunk.record, h.row), imageOf(h.chunk.record, h.row))
	h.row++
	m.settle(p, h)
}

// close gives back what was not handed out, once Next has returned. The loops have ended.
func (m *merge) close() {
	m.using.Lock()
	defer m.using.Unlock()
	for p, h := range m.heads {
		if h.chunk != nil {
			m.done(p, h)
		}
	}
	m.builder.Release()
}
