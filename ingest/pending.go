package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Pending is the partly consumed messages, by source, partition and offset. It is short: the images of one message are
// consumed close together.
type Pending []Message

// Message is one message of several images, some of them consumed.
type Message struct {
	Source    string    `json:"source"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Items     int32     `json:"items,omitempty"` // images in it, at least 2; 0 as long as that is not known
	Done      Intervals `json:"done"`            // items consumed, neither none nor all
}

// add counts an item and says whether its message is complete now; a complete one is left for the caller to remove. A
// message whose number of items is given differently later counts with the largest.
func (p *Pending) add(id ID, items int32) (complete bool) {
	i, found := p.find(id)
	if !found {
		*p = slices.Insert(*p, i, Message{Source: id.Source, Partition: id.Partition, Offset: id.Offset})
	}
	m := &(*p)[i]
	m.Items = max(items, m.Items)
	m.Done = m.Done.Add(int64(id.Item), int64(id.Item)+1)
	return m.Items > 0 && m.Done.FirstGap(0) >= int64(m.Items)
}

// remove drops the messages of start <= offset < end.
func (p *Pending) remove(source string, partition int32, start, end int64) {
	if len(*p) == 0 {
		return
	}
	first, _ := p.find(ID{Source: source, Partition: partition, Offset: start})
	last, _ := p.find(ID{Source: source, Partition: partition, Offset: end})
	*p = slices.Delete(*p, first, last)
	if len(*p) == 0 {
		*p = nil
	}
}

func (p Pending) contains(id ID) bool {
	i, found := p.find(id)
	return found && p[i].Done.Contains(int64(id.Item))
}

func (p Pending) find(id ID) (int, bool) {
	return slices.BinarySearchFunc(p, id, func(m Message, id ID) int { return m.compare(id) })
}

func (m Message) compare(id ID) int {
	return cmp.Or(
		cmp.Compare(m.Source, id.Source),
		cmp.Compare(m.Partition, id.Partition),
		cmp.Compare(m.Offset, id.Offset))
}

// UnmarshalJSON refuses what add would not have made.
func (p *Pending) UnmarshalJSON(data []byte) error {
	var raw []Message
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	for i, m := range raw {
		if i > 0 && raw[i-1].compare(ID{Source: m.Source, Partition: m.Partition, Offset: m.Offset}) >= 0 {
			return fmt.Errorf("read pending messages: offset %d is out of order", m.Offset)
		}
		last := len(m.Done) - 1
		if last < 0 || m.Done[0].Start < 0 || m.Items < 0 ||
			m.Items > 0 && (m.Done[last].End > int64(m.Items) || m.Done.Len() == int64(m.Items)) {
			return fmt.Errorf("read pending messages: items of offset %d are not some of %d", m.Offset, m.Items)
		}
	}
	*p = raw
	return nil
}
