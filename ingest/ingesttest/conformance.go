package ingesttest

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"mocostream/ingest"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

// deadline ends a test whose source hangs.
const deadline = 20 * time.Second

// TestBounded checks that a source keeps the contract of ingest.Bounded. open makes it, over the same content each
// time (not necessarily in the same place), and says what it holds in the order of partitions and offsets.
func TestBounded(t *testing.T, open func(t *testing.T) (ingest.Bounded, []Sample)) {
	tests := map[string]func(*testing.T, ingest.Bounded, [][]Sample){
		"manifest":      testManifest,
		"resume points": testResumePoints,
		"bad arguments": testBadArguments,
		"cancellation":  testBoundedCancel,
		"close":         testBoundedClose,
		"concurrent":    testConcurrentReads,
		"memory":        testMemory,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			source, want := open(t)
			test(t, source, split(want))
		})
	}
	t.Run("identity", func(t *testing.T) {
		first, _ := open(t)
		second, _ := open(t)
		a, b := manifestOf(t, first), manifestOf(t, second)
		if a.Hash() != b.Hash() {
			t.Errorf("same content opened twice has manifests %s and %s", a.Hash(), b.Hash())
		}
		for p := range a.Len() {
			compare(t, readPartition(t, second, p, 0), readPartition(t, first, p, 0))
		}
	})
}

// split groups samples by partition.
func split(samples []Sample) [][]Sample {
	var all [][]Sample
	for _, s := range samples {
		for len(all) <= int(s.Partition) {
			all = append(all, nil)
		}
		all[s.Partition] = append(all[s.Partition], s)
	}
	return all
}

func testManifest(t *testing.T, source ingest.Bounded, want [][]Sample) {
	m := manifestOf(t, source)
	if int(m.Len()) != len(want) {
		t.Fatalf("manifest lists %d partitions, want %d", m.Len(), len(want))
	}
	var samples int64
	for i := range m.Len() {
		p, err := m.Partition(i)
		if err != nil || p.Count != int64(len(want[i])) {
			t.Errorf("partition %d: %+v, %v; want %d samples", i, p, err, len(want[i]))
		}
		samples += p.Count
	}
	if m.Samples() != samples {
		t.Errorf("manifest counts %d samples, its partitions %d", m.Samples(), samples)
	}
	for _, s := range slices.Concat(want...) {
		if s.Source != m.Hash() {
			t.Fatalf("source of %v is not the manifest's hash %s", s, m.Hash())
		}
	}
}

func testResumePoints(t *testing.T, source ingest.Bounded, want [][]Sample) {
	for p := range want {
		for from := range len(want[p]) + 1 {
			compare(t, readPartition(t, source, int32(p), int64(from)), want[p][from:])
		}
	}
}

func testBadArguments(t *testing.T, source ingest.Bounded, want [][]Sample) {
	for _, at := range [][2]int{{-1, 0}, {len(want), 0}, {0, -1}, {0, len(want[0]) + 1}} {
		if r, err := source.Read(t.Context(), int32(at[0]), int64(at[1])); err == nil {
			r.Close()
			t.Errorf("reading partition %d from sample %d is no error", at[0], at[1])
		}
	}
}

func testBoundedCancel(t *testing.T, source ingest.Bounded, want [][]Sample) {
	manifestOf(t, source)
	r, err := source.Read(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next of a cancelled context: %v", err)
	}
}

func testBoundedClose(t *testing.T, source ingest.Bounded, want [][]Sample) {
	manifestOf(t, source)
	for p := range want {
		r, err := source.Read(t.Context(), int32(p), 0)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := ReadAll(t.Context(), r)
			ended <- err
		}()
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := within(t, ended); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading while Close is called: %v", err)
		}
		if _, err := r.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next after Close: %v, want net.ErrClosed", err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
}

func testConcurrentReads(t *testing.T, source ingest.Bounded, want [][]Sample) {
	g, ctx := errgroup.WithContext(t.Context())
	for i := range 3 * len(want) {
		p := i % len(want)
		g.Go(func() error {
			r, err := source.Read(ctx, int32(p), 0)
			if err != nil {
				return err
			}
			defer r.Close()
			got, err := ReadAll(ctx, r)
			if !slices.EqualFunc(got, want[p], Sample.Equal) {
				t.Errorf("partition %d: got %d samples other than the %d wanted", p, len(got), len(want[p]))
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// testMemory reads far more than may stay behind.
func testMemory(t *testing.T, source ingest.Bounded, want [][]Sample) {
	const rounds, limit = 20, 4 << 20
	before := heap()
	for range rounds {
		for p := range want {
			readPartition(t, source, int32(p), 0)
		}
	}
	if after := heap(); after > before+limit {
		t.Errorf("heap went from %d to %d bytes in %d rounds", before, after, rounds)
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func manifestOf(t *testing.T, source ingest.Bounded) *ingest.Manifest {
	t.Helper()
	m, err := source.Manifest(t.Context())
	if err != nil {
		t.Fatalf("Manifest: %v", err)
	}
	return m
}

// readPartition reads to the end and checks that the end stays.
func readPartition(t *testing.T, source ingest.Bounded, partition int32, from int64) []Sample {
	t.Helper()
	r, err := source.Read(t.Context(), partition, from)
	if err != nil {
		t.Fatalf("Read %d from %d: %v", partition, from, err)
	}
	defer r.Close()
	got, err := ReadAll(t.Context(), r)
	if err != nil {
		t.Fatalf("Next of partition %d from %d: %v", partition, from, err)
	}
	if record, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("Next after the end of partition %d: %v, %v", partition, record, err)
	}
	return got
}

func compare(t *testing.T, got, want []Sample) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d samples, want %d: %v, want %v", len(got), len(want), got, want)
		return
	}
	for i := range got {
		if !got[i].Equal(want[i]) {
			t.Errorf("sample %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

func within(t *testing.T, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(deadline):
		t.Fatal("it hangs")
		return nil
	}
}
