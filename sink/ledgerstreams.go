package sink

import (
	"mocostream/ingest"
)

// streamTally is what a ledger says of one partition of a stream. Offsets come nearly in order, so that all of it stays
// small.
type streamTally struct {
	// taken holds by item the offsets of which that image was in a step, or a dead letter. Most messages have one image,
	// item 0.
	taken  []ingest.Intervals
	passed ingest.Intervals
}

// maxItem bounds the memory for the items of a message that a damaged ledger claims; an item beyond counts as it.
const maxItem = 1 << 20

// take counts a sample; false: it had been counted.
func (t *streamTally) take(id ingest.ID) bool {
	item := min(max(int(id.Item), 0), maxItem)
	for len(t.taken) <= item {
		t.taken = append(t.taken, nil)
	}
	if t.taken[item].Contains(id.Offset) {
		return false
	}
	t.taken[item] = t.taken[item].Add(id.Offset, id.Offset+1)
	return true
}

// within returns the part of s that lies in limit.
func within(s, limit ingest.Intervals) ingest.Intervals { return without(s, without(s, limit)) }

// without returns the part of s that does not lie in limit.
func without(s, limit ingest.Intervals) ingest.Intervals {
	var out ingest.Intervals
	for _, i := range s {
		for gap := range limit.Gaps(i.Start, i.End) {
			out = out.Add(gap.Start, gap.End)
		}
	}
	return out
}

// unseen has the partitions counted that Progress knows and the ledger does not.
func (a *audit) unseen() {
	for source, offsets := range a.checkpoint.Token.Progress.Streams {
		for partition := range offsets {
			a.stream(partitionKey{source, partition})
		}
	}
}

// reportStream holds a partition of a stream against Progress.
func (a *audit) reportStream(key partitionKey, t *streamTally) {
	var consumed, first ingest.Intervals
	if a.checkpoint != nil {
		consumed = a.checkpoint.Token.Progress.Streams[key.source][key.partition]
	}
	if len(t.taken) > 0 {
		first = t.taken[0]
	}
	explained := ingest.Intervals(nil).Merge(first).Merge(t.passed).Merge(a.base.Streams[key.source][key.partition])
	a.Passed += t.passed.Len()
	for _, i := range consumed {
		a.missing(key, explained, i.Start, i.End)
	}
	if len(first) > 0 {
		a.between(key, explained, consumed, first[0].Start, first[len(first)-1].End)
	}
	a.unrecorded(key, t, consumed)
	a.items(key, t)
}

func (a *audit) missing(key partitionKey, explained ingest.Intervals, start, end int64) {
	for gap := range explained.Gaps(start, end) {
		a.Missing += gap.End - gap.Start
		a.found("%s partition %d offsets %d..%d: consumed, but in no step", key.source, key.partition, gap.Start, gap.End-1)
	}
}

// between counts the gaps from the first to the last sample that a step took.
func (a *audit) between(key partitionKey, explained, consumed ingest.Intervals, start, end int64) {
	for gap := range explained.Gaps(start, end) {
		if a.checkpoint == nil {
			a.missing(key, nil, gap.Start, gap.End)
			continue
		}
		for open := range consumed.Gaps(gap.Start, gap.End) { // the rest is missing
			a.Pending += open.End - open.Start
		}
	}
}

// unrecorded counts the samples in a step that Progress lacks.
func (a *audit) unrecorded(key partitionKey, t *streamTally, consumed ingest.Intervals) {
	if a.checkpoint == nil {
		return
	}
	pending := a.checkpoint.Token.Progress.Pending
	for item, offsets := range t.taken {
		for _, i := range offsets {
			for gap := range consumed.Gaps(i.Start, i.End) {
				a.unrecordedIn(key, pending, int32(item), gap)
			}
		}
	}
}

func (a *audit) unrecordedIn(key partitionKey, pending ingest.Pending, item int32, gap ingest.Interval) {
	p := ingest.Progress{Pending: pending}
	for offset := gap.Start; offset < gap.End; offset++ {
		id := ingest.ID{Source: key.source, Partition: key.partition, Offset: offset, Item: item}
		if !p.Contains(id) {
			a.Unrecorded++
			a.found("%s: in a step, but not consumed: it would be repeated", name(id))
		}
	}
}

// items counts the images of a message that lie before one in a step and were in none. How many images a message holds
// the ledger does not know, so that a last one that is missing shows only in the number of samples.
func (a *audit) items(key partitionKey, t *streamTally) {
	for item := len(t.taken) - 1; item > 0; item-- {
		for _, i := range t.taken[item] {
			for gap := range t.taken[item-1].Gaps(i.Start, i.End) {
				a.itemsIn(key, int32(item-1), gap)
			}
		}
	}
}

func (a *audit) itemsIn(key partitionKey, item int32, gap ingest.Interval) {
	for offset := gap.Start; offset < gap.End; offset++ {
		id := ingest.ID{Source: key.source, Partition: key.partition, Offset: offset, Item: item}
		if !a.base.Contains(id) {
			a.Missing++
			a.found("%s: in no step, but a later image of its message was", name(id))
		}
	}
}
