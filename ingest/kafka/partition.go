package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"mocostream/ingest"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	// maxWait is how long a broker holds a request for which it has no record. Close does not wait for it.
	maxWait = time.Second
	// checksumTries is how often a batch is asked for before it counts as damaged in the log.
	checksumTries = 3
)

// partition is the loop that reads one partition. Its fields are the loop's alone, except where said.
type partition struct {
	r      *reader
	topic  string
	id     topicID
	number int32
	source string
	key    bookKey

	start    int64            // what lies before was never to be read
	done     ingest.Intervals // consumed before Open; not changed
	partial  map[int64]bool   // offsets of messages consumed in part before Open
	next     int64            // next offset to fetch
	reported int64            // everything before was handed out, or reported as passed
	epoch    int32            // of the leader that wrote the record before next; -1: unknown

	out       output
	records   records
	broken    int           // tries of the batch at next that failed its checksum
	troubles  streak        // of requests
	beyond    int           // times in a row that next was seen behind the log's end
	truncated bool          // the log ends before next, which is known and told
	shedFrom  int64         // where shedding began; -1: it does not shed
	turn      chan struct{} // deterministic merge: one chunk at a time; nil otherwise
	stop      context.CancelFunc

	urgent atomic.Bool // the merge waits for this partition; for all
	stats  partitionStats
}

// begin finds where to read on. It blocks until the partition's leader has answered.
func (p *partition) begin(ctx context.Context) (err error) {
	p.stats.s = PartitionStats{Topic: p.topic, Partition: p.number, Source: p.source}
	p.done = p.r.done.Streams[p.source][p.number]
	for _, m := range p.r.done.Pending {
		if m.Source == p.source && m.Partition == p.number {
			if p.partial == nil {
				p.partial = map[int64]bool{}
			}
			p.partial[m.Offset] = true
		}
	}
	known := false
	if p.start, known = p.r.source.book.start(p.key); !known && len(p.done) == 0 {
		start := Start{At: StartEarliest}
		if p.r.fresh {
			start = p.r.o.Start
		}
		if p.start, err = p.resolve(ctx, start); err != nil {
			return err
		}
	}
	p.next = p.done.FirstGap(p.start)
	p.reported, p.epoch, p.shedFrom = 0, -1, -1
	if w, ok := p.r.source.book.last(p.key, p.done); ok {
		if err := p.recognize(ctx, w); err != nil {
			return err
		}
	}
	p.stats.update(func(s *PartitionStats) { s.Position = p.next })
	return nil
}

// run reads until ctx ends, or what it returns ends the reader.
func (p *partition) run(ctx context.Context) error {
	defer p.out.close()
	p.out.open(p)
	if err := p.pass(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := p.step(ctx)
		if err == nil {
			p.recovered()
			continue
		}
		if err = p.endure(ctx, err); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// step asks for records once and hands out what comes.
func (p *partition) step(ctx context.Context) error {
	p.next = p.done.FirstGap(p.next)
	f, err := p.fetch(ctx, p.next, p.epoch)
	if err != nil {
		return err
	}
	defer f.close(p.r.pool)
	switch {
	case f.ErrorCode == int16(kafkago.OffsetOutOfRange):
		return p.outOfRange(ctx)
	case f.ErrorCode != 0:
		return kafkago.Error(f.ErrorCode)
	case f.DivergingEpoch.EndOffset >= 0:
		return p.diverged(f.DivergingEpoch.EndOffset)
	}
	p.truncated, p.beyond = false, 0
	end := f.LastStableOffset
	if end < 0 {
		end = f.HighWatermark
	}
	p.stats.update(func(s *PartitionStats) { s.End, s.LogStart = end, max(s.LogStart, f.LogStartOffset) })
	return p.take(ctx, f, end)
}

// fetch asks the leader for records from offset.
func (p *partition) fetch(ctx context.Context, offset int64, epoch int32) (*frame, error) {
	l, err := p.r.leader(p.topic, p.id, p.number)
	if err != nil {
		return nil, err
	}
	return p.r.client.fetch(ctx, fetchCall{broker: int32(l), topic: p.topic, id: p.id, partition: p.number, offset: offset, epoch: epoch,
		maxBytes: int32(p.r.fetchBytes()), maxWait: maxWait, committed: true}, p.r.memory, &p.urgent, p.r.pool)
}

// offsetAt returns the first offset of a time or an end of the log, asking until there is an answer.
func (p *partition) offsetAt(ctx context.Context, when int64) (offset int64, err error) {
	err = p.insist(ctx, func(broker int32) error {
		offset, err = p.r.client.offsetAt(ctx, broker, p.topic, p.number, when)
		return err
	})
	return offset, err
}

// insist calls f with the partition's leader until that succeeds, or cannot.
func (p *partition) insist(ctx context.Context, f func(broker int32) error) error {
	for {
		l, err := p.r.leader(p.topic, p.id, p.number)
		if err == nil {
			err = f(int32(l))
		}
		if err == nil {
			return nil
		}
		if p.r.opening.Load() && hopeless(err) {
			return fmt.Errorf("topic %q partition %d: %w", p.topic, p.number, err)
		}
		if waiting := p.endure(ctx, err); waiting != nil {
			return fmt.Errorf("topic %q partition %d: %w: %w", p.topic, p.number, waiting, err)
		}
	}
}

// endure returns what ends the reader; anything else it counts, and returns nil after a pause.
func (p *partition) endure(ctx context.Context, err error) error {
	var decoding *decodeError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrDataLoss), errors.Is(err, errMemory), errors.As(err, &decoding):
		return err
	}
	p.stats.update(func(s *PartitionStats) {
		s.Retries++
		if disconnected(err) {
			s.Reconnects++
		}
	})
	p.r.refresh()
	if p.troubles.warn() {
		p.stats.update(func(s *PartitionStats) { s.Trouble = err.Error() })
		p.r.o.Warn(fmt.Sprintf("kafka topic %q partition %d: cannot be read now, trying on: %v", p.topic, p.number, err))
	}
	return p.troubles.pause(ctx)
}

// disconnected says whether an error is of a connection, rather than an answer.
func disconnected(err error) bool {
	var network net.Error
	var code kafkago.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &code)
}

func (p *partition) recovered() {
	if p.troubles.warned {
		p.stats.update(func(s *PartitionStats) { s.Trouble = "" })
		p.r.o.Warn(fmt.Sprintf("kafka topic %q partition %d: can be read again", p.topic, p.number))
	}
	p.troubles = streak{}
}
