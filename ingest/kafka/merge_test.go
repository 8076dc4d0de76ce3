package kafka

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mocostream/ingest"

	"github.com/twmb/franz-go/pkg/kfake"
)

// inTurn sorts IDs as a deterministic merge does.
func inTurn(a, b ingest.ID) int {
	switch {
	case a.Offset != b.Offset:
		return int(a.Offset - b.Offset)
	case a.Source != b.Source && a.Source < b.Source, a.Source == b.Source && a.Partition < b.Partition:
		return -1
	}
	return 1
}

// TestDeterministicMerge resumes at random points; the order is that of one run, and that of the rule.
func TestDeterministicMerge(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(2, "a", "b"))
	client := producer(t, c)
	total := 0
	for i, topic := range []string{"a", "b"} {
		for p := range int32(2) {
			for range 3 {
				n := 10 + 3*i + int(p)
				produce(t, client, topic, p, n)
				total += n
			}
		}
	}
	var got []ingest.ID
	rng := rand.New(rand.NewPCG(3, 4))
	var done ingest.Progress
	for len(got) < total {
		o := options(c, "a", "b")
		o.Merge, o.FetchBytes, o.MergeTimeout = MergeDeterministic, 200+rng.IntN(500), 300*time.Millisecond
		s := openSession(t, newSource(t, o), done)
		stop := min(total-len(got), 1+rng.IntN(40))
		s.until("some samples", func() bool { return len(s.got) >= stop })
		s.reader.Close()
		for _, sample := range s.got[:stop] { // what comes after is lost with the process
			got = append(got, sample.ID)
			done.Add(sample.ID)
		}
	}
	if !slices.IsSortedFunc(got, inTurn) {
		t.Error("samples are not in turn")
	}
}

// TestMergeTimeout has a partition without records.
func TestMergeTimeout(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(2, "imgs"))
	client := producer(t, c)
	produce(t, client, "imgs", 1, 20)
	o, told := options(c, "imgs"), &warnings{}
	o.Merge, o.MergeTimeout, o.Warn = MergeDeterministic, 50*time.Millisecond, told.add
	source := newSource(t, o)
	s := openSession(t, source, ingest.Progress{})
	s.samples(20)
	if n := source.Stats().MergeTimeouts; n != 1 || !told.has("partition 0: no record came within 50ms") {
		t.Errorf("%d timeouts, told %q", n, told.all)
	}
	produce(t, client, "imgs", 0, 5) // it takes part again
	produce(t, client, "imgs", 1, 1)
	s.samples(26)
}

// TestMergeWaits gives nothing that would be out of turn before the timeout.
func TestMergeWaits(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(2, "imgs"))
	client := producer(t, c)
	produce(t, client, "imgs", 0, 5)
	produce(t, client, "imgs", 1, 3)
	o := options(c, "imgs")
	o.Merge, o.MergeTimeout = MergeDeterministic, time.Hour
	s := openSession(t, newSource(t, o), ingest.Progress{})
	s.samples(7) // 0 to 3 of partition 0, 0 to 2 of partition 1
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.next(ctx); err != context.DeadlineExceeded {
		t.Errorf("Next: %v, and %d samples", err, len(s.got))
	}
	produce(t, client, "imgs", 1, 2)
	s.samples(10) // a partition that is known to be behind them is not waited for
}
