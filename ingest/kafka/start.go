package kafka

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// StartAt is a kind of start.
type StartAt string

const (
	StartEarliest StartAt = "earliest"
	StartLatest   StartAt = "latest"
	StartTime     StartAt = "timestamp"
	StartOffsets  StartAt = "offsets"
)

// Start is where partitions begin at the first start of a run. It is resolved into an offset once, which the first
// checkpoint keeps: what came in since then is not passed over by a resume. A run that dies before its first checkpoint
// has consumed nothing that survives, and begins anew: "latest" is then the end at that time. Partitions and topics that
// appear later begin at their earliest record.
type Start struct {
	At      StartAt // "" is StartEarliest
	Time    time.Time
	Offsets map[string]map[int32]int64 // by topic and partition; earliest for those not named
}

func (s Start) validate() error {
	switch s.At {
	case "", StartEarliest, StartLatest:
		return nil
	case StartTime:
		if s.Time.IsZero() {
			return fmt.Errorf("start %q without a time; set ingest.kafka.start_time", s.At)
		}
		return nil
	case StartOffsets:
		for topic, offsets := range s.Offsets {
			for partition, offset := range offsets {
				if offset < 0 {
					return fmt.Errorf("start at offset %d of topic %q partition %d", offset, topic, partition)
				}
			}
		}
		return nil
	}
	return fmt.Errorf("start %q is none of earliest, latest, timestamp, offsets", s.At)
}

// resolve finds the offset at which p begins.
func (p *partition) resolve(ctx context.Context, s Start) (int64, error) {
	first, err := p.offsetAt(ctx, atStart)
	if err != nil {
		return 0, err
	}
	switch cmp.Or(s.At, StartEarliest) {
	case StartLatest:
		return p.offsetAt(ctx, atEnd)
	case StartTime:
		at, err := p.offsetAt(ctx, s.Time.UnixMilli())
		if err != nil || at >= 0 {
			return at, err
		}
		return p.offsetAt(ctx, atEnd) // nothing is that new yet
	case StartOffsets:
		if at, ok := s.Offsets[p.topic][p.number]; ok {
			return p.resolveOffset(ctx, first, at)
		}
	}
	return first, nil
}

// resolveOffset checks an offset that a person gave against the log, which begins at first.
func (p *partition) resolveOffset(ctx context.Context, first, at int64) (int64, error) {
	end, err := p.offsetAt(ctx, atEnd)
	if err != nil {
		return 0, err
	}
	if at > end {
		return 0, fmt.Errorf("start topic %q partition %d at offset %d: its log ends at %d; see ingest.kafka.start", p.topic, p.number, at, end)
	}
	if at < first {
		return first, p.lose(at, first, "retention has deleted them before they were read")
	}
	return at, nil
}
