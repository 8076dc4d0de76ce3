package ingest

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sort"
)

// Intervals is a set of offsets as sorted, disjoint, non-adjacent half-open ranges. Nil is the empty set.
type Intervals []Interval

// Interval is the offsets Start <= o < End.
type Interval struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// Add returns the set with start <= o < end in it. Like append it may change s, which must not be used afterwards.
func (s Intervals) Add(start, end int64) Intervals {
	if start >= end {
		return s
	}
	first := s.search(start) // the first that ends at start or later: it touches or follows
	last := first
	for last < len(s) && s[last].Start <= end {
		start, end = min(start, s[last].Start), max(end, s[last].End)
		last++
	}
	return slices.Replace(s, first, last, Interval{start, end})
}

// Merge returns the union of both sets. Like append it may change s, which must not be used afterwards; other is left
// as it is.
func (s Intervals) Merge(other Intervals) Intervals {
	for _, i := range other {
		s = s.Add(i.Start, i.End)
	}
	return s
}

// Contains says whether offset is in the set.
func (s Intervals) Contains(offset int64) bool {
	i := s.search(offset)
	if i < len(s) && s[i].End == offset {
		i++ // End itself is outside
	}
	return i < len(s) && s[i].Start <= offset
}

// FirstGap returns the smallest offset >= from that is not in the set.
func (s Intervals) FirstGap(from int64) int64 {
	i := s.search(from)
	if i < len(s) && s[i].Start <= from {
		return s[i].End
	}
	return from
}

// Gaps yields, in order, the ranges of start <= o < end that are not in the set.
func (s Intervals) Gaps(start, end int64) iter.Seq[Interval] {
	return func(yield func(Interval) bool) {
		for i := s.search(start); i < len(s) && s[i].Start < end; i++ {
			if start < s[i].Start && !yield(Interval{start, s[i].Start}) {
				return
			}
			start = max(start, s[i].End)
		}
		if start < end {
			yield(Interval{start, end})
		}
	}
}

// Len returns the number of offsets in the set.
func (s Intervals) Len() int64 {
	var n int64
	for _, i := range s {
		n += i.End - i.Start
	}
	return n
}

// search returns the index of the first interval with End >= offset.
func (s Intervals) search(offset int64) int {
	if n := len(s); n > 0 && s[n-1].Start <= offset { // nearly all calls: consumed in order
		if s[n-1].End >= offset {
			return n - 1
		}
		return n
	}
	return sort.Search(len(s), func(i int) bool { return s[i].End >= offset })
}

// UnmarshalJSON refuses what is not sorted, disjoint and non-adjacent: a set that lies would lose samples.
func (s *Intervals) UnmarshalJSON(data []byte) error {
	var raw []Interval
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	for i, r := range raw {
		if r.Start >= r.End {
			return fmt.Errorf("read offsets: interval %d..%d is empty", r.Start, r.End)
		}
		if i > 0 && r.Start <= raw[i-1].End {
			return fmt.Errorf("read offsets: interval %d..%d is not after %d", r.Start, r.End, raw[i-1].End)
		}
	}
	*s = raw
	return nil
}
