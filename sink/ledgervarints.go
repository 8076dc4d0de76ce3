package sink

import (
	"encoding/binary"
	"math"

	"mocostream/ingest"
)

// varints takes numbers off the front of data; bad stays set once one was not there or out of range.
type varints struct {
	data []byte
	bad  bool
}

func (r *varints) signed() int64 {
	v, n := binary.Varint(r.data)
	return take(r, v, n)
}

func (r *varints) unsigned() uint64 {
	v, n := binary.Uvarint(r.data)
	return take(r, v, n)
}

func take[T int64 | uint64](r *varints, v T, n int) T {
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return v
}

// count is a number of things that need at least one byte each of what is left.
func (r *varints) count() int {
	n := r.unsigned()
	if n > uint64(len(r.data)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *varints) int32(v int64) int32 {
	r.bad = r.bad || v < math.MinInt32 || v > math.MaxInt32
	return int32(v)
}

func (r *varints) sources() []string {
	var names []string
	for range r.count() {
		n := r.count()
		if r.bad {
			return nil
		}
		names, r.data = append(names, string(r.data[:n])), r.data[n:]
	}
	return names
}

func (r *varints) source(sources []string) string {
	i := r.unsigned()
	if r.bad || i >= uint64(len(sources)) {
		r.bad = true
		return ""
	}
	return sources[i]
}

func (r *varints) ids(sources []string) []ingest.ID {
	n := r.count()
	ids := make([]ingest.ID, 0, n/4) // four numbers each
	var last ingest.ID
	for range n {
		id := ingest.ID{Source: r.source(sources)}
		id.Partition = r.int32(int64(last.Partition) + r.signed())
		id.Offset = last.Offset + r.signed()
		id.Item = r.int32(r.signed())
		if r.bad {
			return nil
		}
		ids, last = append(ids, id), id
	}
	return ids
}

func (r *varints) spans(sources []string) []ingest.Span {
	n := r.count()
	spans := make([]ingest.Span, 0, n/4)
	for range n {
		s := ingest.Span{Source: r.source(sources), Partition: r.int32(r.signed()), Start: r.signed(), End: r.signed()}
		if r.bad {
			return nil
		}
		spans = append(spans, s)
	}
	return spans
}
