package kafka

import (
	"fmt"
	"hash/fnv"
	"math"

	"mocostream/ingest"
)

// OverloadMode is a way to treat lag.
type OverloadMode string

const (
	// OverloadLag reads everything, however late.
	OverloadLag OverloadMode = "lag"
	// OverloadSample keeps a part of the records, chosen by their identity.
	OverloadSample OverloadMode = "sample"
	// OverloadJump leaves out what lies between the position and JumpTo records before the end.
	OverloadJump OverloadMode = "jump"
)

// Overload is what to do in a partition while its lag is above MaxLag. What it sheds is reported as passed, counted, and
// kept in Stats.
type Overload struct {
	Mode   OverloadMode // "" is OverloadLag
	MaxLag int64        // offsets
	Keep   float64      // share of the records that OverloadSample keeps, above 0 and below 1
	JumpTo int64        // offsets, at most MaxLag
}

func (o Overload) sheds() bool { return o.Mode != "" && o.Mode != OverloadLag }

func (o Overload) validate() error {
	switch o.Mode {
	case "", OverloadLag:
		return nil
	case OverloadSample:
		if !(o.Keep > 0 && o.Keep < 1) {
			return fmt.Errorf("overload sample keeps %v of the records, which is not between 0 and 1", o.Keep)
		}
	case OverloadJump:
		if o.JumpTo < 0 || o.JumpTo > o.MaxLag {
			return fmt.Errorf("overload jump to %d records before the end is not in 0..%d, the lag that it begins at", o.JumpTo, o.MaxLag)
		}
	default:
		return fmt.Errorf("overload %q is none of lag, sample, jump", o.Mode)
	}
	if o.MaxLag < 1 {
		return fmt.Errorf("overload %s begins at a lag of %d records, which must be at least 1; see ingest.kafka.overload", o.Mode, o.MaxLag)
	}
	return nil
}

// jump returns where to go on instead of next, if that is to be left.
func (o Overload) jump(next, end int64) (int64, bool) {
	if o.Mode != OverloadJump || end-next <= o.MaxLag {
		return next, false
	}
	return end - o.JumpTo, true
}

// drops says whether the record of id is shed, the log ending at end.
func (o Overload) drops(id ingest.ID, end int64) bool {
	return o.Mode == OverloadSample && end-id.Offset > o.MaxLag && lot(id) >= o.Keep
}

// lot draws a number in [0, 1) for a record, always the same one.
func lot(id ingest.ID) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d/%d", id.Source, id.Partition, id.Offset)
	x := h.Sum64() // FNV's high bits hardly change with the last digit: mix them (splitmix64)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) * math.Pow(2, -53)
}

// maxShedSpans is how many ranges Stats keep of a partition.
const maxShedSpans = 64

// shed takes note of offsets that overload leaves out.
func (p *partition) shed(from, to int64) {
	p.stats.update(func(s *PartitionStats) {
		s.Shed += to - from
		s.ShedSpans = ingest.AppendSpan(s.ShedSpans, ingest.Span{Source: p.source, Partition: p.number, Start: from, End: to})
		if extra := len(s.ShedSpans) - maxShedSpans; extra > 0 {
			s.ShedSpans = append([]ingest.Span(nil), s.ShedSpans[extra:]...)
		}
	})
}

// overloaded tells a person when shedding begins and ends.
func (p *partition) overloaded(end int64) {
	o := p.r.o.Overload
	if !o.sheds() {
		return
	}
	lag := end - p.next
	switch {
	case lag > o.MaxLag && p.shedFrom < 0:
		p.shedFrom = p.next
		p.r.o.Warn(fmt.Sprintf("kafka topic %q partition %d: lag of %d records is above %d: leaving records out from offset %d (ingest.kafka.overload: %s)",
			p.topic, p.number, lag, o.MaxLag, p.next, o.Mode))
	case lag <= o.MaxLag && p.shedFrom >= 0:
		p.r.o.Warn(fmt.Sprintf("kafka topic %q partition %d: records were left out between offsets %d and %d; lag is down to %d",
			p.topic, p.number, p.shedFrom, p.next, lag))
		p.shedFrom = -1
	}
}
