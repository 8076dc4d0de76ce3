package ingest

import (
	"maps"
	"slices"
)

// Position is how far a bounded source is consumed: everything of the epochs before Epoch, and the first Index samples
// of this epoch's order (bad ones included).
type Position struct {
	Source string `json:"source"` // manifest's hash
	Epoch  int64  `json:"epoch"`
	Index  int64  `json:"index"`
}

// Progress is what finished optimisation steps have consumed: the only resume state of the input side. The zero value
// is the start. It marshals to JSON deterministically: equal progress is equal bytes, in whatever order it was made.
//
// A Progress is used by one goroutine at a time; Clone makes an independent one.
type Progress struct {
	Bounded *Position          `json:"bounded,omitempty"`
	Streams map[string]Offsets `json:"streams,omitempty"` // by source
	// Pending holds the messages of which some images are consumed and others not.
	Pending Pending `json:"pending,omitempty"`
}

// Offsets is by partition what is consumed of one stream. A reader that begins later than offset 0 (retention, or by
// configuration) has what lies before counted as consumed, or FirstGap(0) would stay there for ever.
type Offsets map[int32]Intervals

// Add counts the whole message of id as consumed, all its items.
func (p *Progress) Add(id ID) { p.AddRange(id.Source, id.Partition, id.Offset, id.Offset+1) }

// AddItem counts one item of a message that holds items images (ManyItems: not known yet). The message's offset is
// consumed once all of 0..items-1 are; until then they wait in Pending.
func (p *Progress) AddItem(id ID, items int32) {
	if p.offsets(id.Source, id.Partition).Contains(id.Offset) {
		return
	}
	if items == 0 || items == 1 || p.Pending.add(id, items) {
		p.Add(id)
	}
}

// AddRange counts the offsets start <= o < end as consumed: samples, and what will never become one (control records,
// compacted and lost offsets, dead letters).
func (p *Progress) AddRange(source string, partition int32, start, end int64) {
	if start >= end {
		return
	}
	if p.Streams == nil {
		p.Streams = map[string]Offsets{}
	}
	if p.Streams[source] == nil {
		p.Streams[source] = Offsets{}
	}
	p.Streams[source][partition] = p.Streams[source][partition].Add(start, end)
	p.Pending.remove(source, partition, start, end)
}

// Contains says whether the sample of id is consumed.
func (p *Progress) Contains(id ID) bool {
	return p.offsets(id.Source, id.Partition).Contains(id.Offset) || p.Pending.contains(id)
}

// Clone returns a copy that shares nothing with p.
func (p *Progress) Clone() Progress {
	c := Progress{Streams: maps.Clone(p.Streams), Pending: slices.Clone(p.Pending)}
	if p.Bounded != nil {
		bounded := *p.Bounded
		c.Bounded = &bounded
	}
	for source, offsets := range c.Streams {
		c.Streams[source] = maps.Clone(offsets)
		for partition, done := range offsets {
			c.Streams[source][partition] = slices.Clone(done)
		}
	}
	for i := range c.Pending {
		c.Pending[i].Done = slices.Clone(c.Pending[i].Done)
	}
	return c
}

func (p *Progress) offsets(source string, partition int32) Intervals {
	return p.Streams[source][partition]
}
