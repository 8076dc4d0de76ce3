package sink

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"

	"mocostream/train"
)

// History is the content of a metrics.jsonl.
type History struct {
	Steps  []train.StepResult
	Probes []train.ProbeResult // by step, then by name
	Drift  []train.DriftResult
}

// ReadMetrics returns the results in a metrics.jsonl, in its order. If a series (the steps, one probe, drift) has more than
// n, evenly spaced ones of it are returned, always with the last; 0 returns all. Memory is bounded by n, however long
// the file. Damaged lines are passed over, and the file may be written meanwhile. Numbers that were not finite are NaN.
func ReadMetrics(path string, n int) (History, error) {
	f, err := os.Open(path)
	if err != nil {
		return History{}, fmt.Errorf("read metrics: %w", err)
	}
	defer f.Close()
	steps, drift := sampler[train.StepResult]{limit: n}, sampler[train.DriftResult]{limit: n}
	probes := map[string]*sampler[train.ProbeResult]{}
	for line, err := range jsonLines(f) {
		switch {
		case err != nil:
			return History{}, fmt.Errorf("read metrics %s: %w", path, err)
		case bytes.Contains(line, []byte(`"probe"`)):
			addProbe(probes, line, n)
		case bytes.Contains(line, []byte(`"drift"`)):
			drift.read(line)
		default:
			steps.read(line)
		}
	}
	return History{Steps: steps.result(), Probes: merged(probes), Drift: drift.result()}, nil
}

// addProbe adds a probe's line to its series, at most n of them.
func addProbe(probes map[string]*sampler[train.ProbeResult], line []byte, n int) {
	var r train.ProbeResult
	if unmarshalLine(line, &r) != nil {
		return
	}
	if probes[r.Probe] == nil {
		probes[r.Probe] = &sampler[train.ProbeResult]{limit: n}
	}
	probes[r.Probe].add(r)
}

// merged returns the series of all probes by step, then by name.
func merged(probes map[string]*sampler[train.ProbeResult]) []train.ProbeResult {
	var all []train.ProbeResult
	for _, s := range probes {
		all = append(all, s.result()...)
	}
	slices.SortStableFunc(all, func(a, b train.ProbeResult) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Probe, b.Probe))
	})
	return all
}

// sampler keeps at most limit evenly spaced values of a series of unknown length: every stride-th, and twice the stride
// whenever they become too many.
type sampler[T any] struct {
	limit  int // 0: all
	kept   []T
	last   T
	n      int // values seen
	stride int
}

// read adds a line's value, if it is whole.
func (s *sampler[T]) read(line []byte) {
	var v T
	if unmarshalLine(line, &v) == nil {
		s.add(v)
	}
}

func (s *sampler[T]) add(v T) {
	s.stride = max(s.stride, 1)
	if s.n%s.stride == 0 {
		if s.limit > 0 && len(s.kept) == s.limit {
			s.thin()
		}
		if s.n%s.stride == 0 {
			s.kept = append(s.kept, v)
		}
	}
	s.last = v
	s.n++
}

func (s *sampler[T]) thin() {
	half := s.kept[:0]
	for i := 0; i < len(s.kept); i += 2 {
		half = append(half, s.kept[i])
	}
	s.kept = half
	s.stride *= 2
}

// result ends the series with its last value, in the place of the last kept one if there is no room.
func (s *sampler[T]) result() []T {
	if s.n == 0 || (s.n-1)%s.stride == 0 { // the last one is kept
		return s.kept
	}
	if s.limit > 0 && len(s.kept) == s.limit {
		s.kept = s.kept[:s.limit-1]
	}
	return append(s.kept, s.last)
}
