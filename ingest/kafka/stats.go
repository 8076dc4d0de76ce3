package kafka

import (
	"slices"
	"sync"
	"time"

	"mocostream/ingest"
)

// Stats is where a source's newest reader stands.
type Stats struct {
	Partitions []PartitionStats // by source and partition
	// MergeTimeouts counts how often a deterministic merge went on without a partition.
	MergeTimeouts int64
	HeldBytes     int64 // memory for messages that is in use
}

// PartitionStats is where a reader stands in one partition. Counters begin at Open.
type PartitionStats struct {
	Topic     string
	Partition int32
	Source    string

	Position int64 // next offset to be handed out
	End      int64 // of the log, as far as transactions are decided
	LogStart int64
	Lag      int64 // offsets: End - Position
	// LagTime is the age of the newest record read; 0 when caught up.
	LagTime time.Duration
	// Retained is how many offsets retention must still delete before records are lost: Position - LogStart.
	Retained int64
	Waiting  bool // all that there is was read

	Records    int64 // read, without those passed over
	Bytes      int64 // of messages read, decompressed
	Aborted    int64 // records of aborted transactions
	Tombstones int64 // messages without an image
	TooLarge   int64 // messages above MaxBytes
	Lost       int64 // offsets
	Shed       int64 // offsets
	// ShedSpans is what overload left out, the last ranges of it.
	ShedSpans []ingest.Span
	CRCErrors int64 // batches with a wrong checksum
	Retries   int64 // requests that failed, whatever the reason
	// Reconnects counts the requests among them that lost or found no connection.
	Reconnects int64
	// Trouble is why the partition cannot be read now, and has not for some requests in a row; "" when it can.
	Trouble string
}

// partitionStats guards a PartitionStats. Fields that follow from others are computed on reading.
type partitionStats struct {
	mu   sync.Mutex
	s    PartitionStats
	last time.Time // of the newest record
}

func (p *partitionStats) update(f func(*PartitionStats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.s)
}

// handedOut says that Next has given everything before an offset.
func (p *partitionStats) handedOut(next int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Position = next
}

func (p *partitionStats) seen(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = at
}

func (p *partitionStats) read(now time.Time) PartitionStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.s
	s.ShedSpans = slices.Clone(s.ShedSpans)
	s.Lag = max(0, s.End-s.Position)
	s.Retained = max(0, s.Position-s.LogStart)
	s.Waiting = s.Lag == 0
	if s.Lag > 0 && !p.last.IsZero() {
		s.LagTime = max(0, now.Sub(p.last))
	}
	return s
}

// Stats may be called at any time; it asks no broker. Without a reader it is empty.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	r := s.reader
	s.mu.Unlock()
	if r == nil {
		return Stats{}
	}
	return r.stats()
}
