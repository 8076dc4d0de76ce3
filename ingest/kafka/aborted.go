package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// aborted tells the records of aborted transactions, from what a read-committed answer says beside its records.
type aborted struct {
	coming map[int64][]int64 // by producer: first offsets of transactions not begun yet, in any order
	active map[int64]bool    // producers within one
}

func newAborted(list []kmsg.FetchResponseTopicPartitionAbortedTransaction) *aborted {
	a := &aborted{coming: map[int64][]int64{}, active: map[int64]bool{}}
	for _, t := range list {
		a.coming[t.ProducerID] = append(a.coming[t.ProducerID], t.FirstOffset)
	}
	return a
}

// data says whether the records of a batch were aborted. Batches come in order of offset.
func (a *aborted) data(b *batch) bool {
	if !b.attrs.Transactional() {
		return false
	}
	later := a.coming[b.producer][:0]
	for _, first := range a.coming[b.producer] {
		if first <= b.last {
			a.active[b.producer] = true
		} else {
			later = append(later, first)
		}
	}
	a.coming[b.producer] = later
	return a.active[b.producer]
}

// ended takes note of an abort marker.
func (a *aborted) ended(b *batch) { delete(a.active, b.producer) }
