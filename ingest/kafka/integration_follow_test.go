//go:build integration

package kafka

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"mocostream/ingest"
)

// follower reads a topic of a clusterWriter for as long as the test goes on.
type follower struct {
	name   string
	source *Source
	told   *warnings

	mu    sync.Mutex
	next  map[int32]int64 // number of the record that must come next
	last  time.Time       // when a record came
	stall time.Duration   // longest time without any
	err   error
}

// follow begins to read.
func follow(t *testing.T, name string, brokers []string, s Security, topic string) *follower {
	t.Helper()
	f := &follower{name: name, source: clusterSource(t, brokers, s, topic), told: &warnings{}, next: map[int32]int64{}, last: time.Now()}
	f.source.o.Warn = f.told.add
	session := openSession(t, f.source, ingest.Progress{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var reading sync.WaitGroup
	reading.Go(func() {
		for f.take(ctx, session) {
		}
	})
	t.Cleanup(func() {
		cancel()
		reading.Wait()
	})
	return f
}

// take reads one record of the reader, and says whether there may be another.
func (f *follower) take(ctx context.Context, s *session) bool {
	err := s.next(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.err = err
		return false
	}
	f.stall, f.last = max(f.stall, time.Since(f.last)), time.Now()
	for _, sample := range s.got {
		var partition int32
		var number int64
		if _, err := fmt.Sscanf(string(sample.Image), "%d/%d ", &partition, &number); err != nil {
			f.err = fmt.Errorf("record at offset %d: %w", sample.ID.Offset, err)
			return false
		}
		if want := f.next[partition]; partition != sample.ID.Partition || number != want {
			f.err = fmt.Errorf("record %d of partition %d came, not %d of partition %d", number, partition, want, sample.ID.Partition)
			return false
		}
		f.next[partition]++
	}
	s.got = s.got[:0]
	return true
}

// has says whether as many records of each partition have come.
func (f *follower) has(numbers []int64) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, n := range numbers {
		if f.next[int32(p)] < n {
			return false, f.err
		}
	}
	return true, f.err
}

// check looks at what the source says of itself at the end.
func (f *follower) check(t *testing.T) {
	t.Helper()
	records, lost, retries := int64(0), int64(0), int64(0)
	for _, p := range f.source.Stats().Partitions {
		records, lost, retries = records+p.Records, lost+p.Lost+p.CRCErrors, retries+p.Retries
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var read int64
	for _, n := range f.next {
		read += n
	}
	if lost != 0 || records != read {
		t.Errorf("%s: %d records were read and %d given, %d were lost or damaged; told: %q", f.name, records, read, lost, f.told.all)
	}
	t.Logf("%s: %d records, longest time without one %v, requests tried again: %d", f.name, read, f.stall.Round(100*time.Millisecond), retries)
}

type followers []*follower

// advance waits until some more records of each partition have come, and no less than a time.
func (all followers) advance(t *testing.T, after string, w *clusterWriter, atLeast time.Duration) {
	t.Helper()
	start, goal := time.Now(), w.acked()
	for p := range goal {
		goal[p] += clusterSteps
	}
	all.await(t, after, func(f *follower) (bool, error) {
		reached, err := f.has(goal)
		return reached && time.Since(start) >= atLeast, err
	})
	t.Logf("after %s: %d more records of each partition in %v", after, clusterSteps, time.Since(start).Round(100*time.Millisecond))
}

// reach waits until a number of records of each partition has come.
func (all followers) reach(t *testing.T, what string, numbers []int64) {
	t.Helper()
	all.await(t, what, func(f *follower) (bool, error) { return f.has(numbers) })
}

func (all followers) await(t *testing.T, what string, f func(*follower) (bool, error)) {
	t.Helper()
	within(t, what, func() bool {
		for _, one := range all {
			done, err := f(one)
			if err != nil {
				t.Fatalf("%s: %v; told: %q", one.name, err, one.told.all)
			}
			if !done {
				return false
			}
		}
		return true
	})
}
