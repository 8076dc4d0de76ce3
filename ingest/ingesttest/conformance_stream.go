package ingesttest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"mocostream/ingest"

	"go.uber.org/goleak"
)

// message names a message whatever its items.
type message struct {
	source    string
	partition int32
	offset    int64
}

func messageOf(id ingest.ID) message { return message{id.Source, id.Partition, id.Offset} }

// TestStream checks that a source keeps the contract of ingest.Stream. open makes it over the same content each time;
// the samples it returns are all there is to read, so that a reader blocks after them.
func TestStream(t *testing.T, open func(t *testing.T) (ingest.Stream, []Sample)) {
	tests := map[string]func(*testing.T, ingest.Stream, []Sample){
		"from the start":  testStreamStart,
		"random progress": testRandomProgress,
		"all done":        testAllDone,
		"cancellation":    testStreamCancel,
		"close":           testStreamClose,
		"two readers":     testTwoReaders,
		"memory":          testStreamMemory,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			source, want := open(t)
			test(t, source, want)
		})
	}
	t.Run("identity", func(t *testing.T) {
		first, want := open(t)
		second, again := open(t)
		compareSets(t, again, want)
		compareSets(t, readStream(t, second, ingest.Progress{}, len(want)), readStream(t, first, ingest.Progress{}, len(want)))
	})
}

func testStreamStart(t *testing.T, source ingest.Stream, want []Sample) {
	got := readStream(t, source, ingest.Progress{}, len(want))
	compareSets(t, got, want)
	last := map[message]ingest.ID{}
	for _, s := range got {
		partition := message{s.Source, s.Partition, 0}
		if before, ok := last[partition]; ok && !less(before, s.ID) {
			t.Errorf("%v comes after %v", s.ID, before)
		}
		last[partition] = s.ID
	}
}

func less(a, b ingest.ID) bool {
	return a.Offset < b.Offset || a.Offset == b.Offset && a.Item < b.Item
}

// testRandomProgress reads what is left after random parts are done, message by message and item by item.
func testRandomProgress(t *testing.T, source ingest.Stream, want []Sample) {
	items := map[message]int32{}
	for _, s := range want {
		items[messageOf(s.ID)]++
	}
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var done ingest.Progress
		var missing []Sample
		share := rng.Float64()
		for _, i := range rng.Perm(len(want)) {
			if rng.Float64() < share {
				done.AddItem(want[i].ID, items[messageOf(want[i].ID)])
			} else {
				missing = append(missing, want[i])
			}
		}
		compareSets(t, readStream(t, source, done, len(missing)), missing)
	}
}

func testAllDone(t *testing.T, source ingest.Stream, want []Sample) {
	var done ingest.Progress
	for _, s := range want {
		done.Add(s.ID)
	}
	readStream(t, source, done, 0)
}

func testStreamCancel(t *testing.T, source ingest.Stream, want []Sample) {
	r := drained(t, source, len(want))
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := nextLater(ctx, r)
	cancel()
	if err := within(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Next when cancelled: %v", err)
	}
}

func testStreamClose(t *testing.T, source ingest.Stream, want []Sample) {
	r := drained(t, source, len(want))
	ended := nextLater(t.Context(), r)
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := within(t, ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next when closed: %v, want net.ErrClosed", err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next after Close: %v, want net.ErrClosed", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// testTwoReaders opens a second reader while the first is in the middle.
func testTwoReaders(t *testing.T, source ingest.Stream, want []Sample) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	r, err := source.Open(ctx, ingest.Progress{})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer r.Close()
	head, err := ReadN(ctx, r, 1)
	if err != nil {
		t.Fatal(err)
	}
	compareSets(t, readStream(t, source, ingest.Progress{}, len(want)), want)
	tail, err := ReadN(ctx, r, len(want)-len(head))
	if err != nil {
		t.Fatal(err)
	}
	compareSets(t, append(head, tail...), want)
}

func testStreamMemory(t *testing.T, source ingest.Stream, want []Sample) {
	const rounds, limit = 10, 4 << 20
	before := heap()
	for range rounds {
		readStream(t, source, ingest.Progress{}, len(want))
	}
	if after := heap(); after > before+limit {
		t.Errorf("heap went from %d to %d bytes in %d rounds", before, after, rounds)
	}
}

// nextLater calls Next in a goroutine of its own, until it does not return a record without rows.
func nextLater(ctx context.Context, r ingest.Reader) <-chan error {
	ended := make(chan error, 1)
	go func() {
		record, err := r.Next(ctx)
		for err == nil && record.NumRows() == 0 { // only to have Passed taken
			record.Release()
			record, err = r.Next(ctx)
		}
		if err == nil {
			record.Release()
			err = errors.New("there was another record")
		}
		ended <- err
	}()
	return ended
}

// drained opens a reader and reads all of the stream, so that its next Next blocks.
func drained(t *testing.T, source ingest.Stream, n int) ingest.Reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	r, err := source.Open(t.Context(), ingest.Progress{})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if _, err := ReadN(ctx, r, n); err != nil {
		t.Fatalf("Next: %v", err)
	}
	return r
}

// readStream reads n samples and checks that no more come.
func readStream(t *testing.T, source ingest.Stream, done ingest.Progress, n int) []Sample {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	r, err := source.Open(ctx, done)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer r.Close()
	got, err := ReadN(ctx, r, n)
	if err != nil {
		t.Fatalf("Next after %d of %d samples: %v", len(got), n, err)
	}
	if len(got) > n {
		t.Errorf("got %d samples, want %d", len(got), n)
	}
	ended := nextLater(ctx, r)
	r.Close()
	if err := within(t, ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the %d samples wanted: %v", n, err)
	}
	return got
}

// compareSets compares without regard to the order of partitions among each other.
func compareSets(t *testing.T, got, want []Sample) {
	t.Helper()
	compare(t, sorted(got), sorted(want))
}

func sorted(samples []Sample) []Sample {
	return slices.SortedFunc(slices.Values(samples), func(a, b Sample) int {
		switch {
		case a.Source != b.Source && a.Source < b.Source, a.Source == b.Source && a.Partition < b.Partition,
			a.Source == b.Source && a.Partition == b.Partition && less(a.ID, b.ID):
			return -1
		case a.ID == b.ID:
			return 0
		}
		return 1
	})
}
