package loader

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// endless sends images of so many bytes for ever, over and over the same record.
func endless(ctx context.Context, bytes int, out chan<- Sample) {
	const rows = 1000
	b := ingest.NewBuilder(memory.NewGoAllocator())
	defer b.Release()
	for i := range rows {
		b.Append(ingest.Row{ID: ingest.ID{Source: "cluster/topic", Offset: int64(i)}, Key: fmt.Sprintf("clip%02d/%03d", i/32, i)}, make([]byte, bytes))
	}
	record := b.Record()
	for position := uint64(0); ; position++ {
		s := Sample{Record: record, Row: int(position % rows), Position: position, Group: position / 32, items: 1}
		if send(ctx, out, s) != nil {
			return
		}
	}
}

// filled runs a buffer until it is full, and hands draws to each. A step settles every batch of it at once.
func filled(tb testing.TB, o ReplayOptions, bytes, draws int, each func()) *Replay {
	tb.Helper()
	o.Dir = tb.TempDir()
	r, err := NewReplay(o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	in, out, done := make(chan Sample, 64), make(chan Sample, 64), make(chan struct{})
	go endless(ctx, bytes, in)
	go func() { defer close(done); _ = r.Run(ctx, in, nil, out) }()
	var positions []uint64
	for range draws {
		s := <-out
		if positions = append(positions, s.Position); len(positions) == o.Batch {
			r.Settle(s.Position+1, positions, nil)
			positions = nil
		}
		s.Release()
		each()
	}
	cancel()
	for s := range out {
		s.Release()
	}
	<-done
	return r
}

func large(policy string, size int) ReplayOptions {
	return ReplayOptions{Policy: policy, Size: size, Rate: 1, Fill: size, Batch: 256, Delay: 8, Seed: 1, Memory: 1 << 40}
}

// What left a buffer leaves the memory.
func TestReplayMemory(t *testing.T) {
	const size, image = 1000, 20_000
	for _, policy := range []string{ReplayRandom, ReplayBalanced} {
		o := large(policy, size)
		o.Bad = BadRule{Window: 1000}
		before := heap()
		r := filled(t, o, image, 3*size, func() {})
		if each := int64(heap()-before)/size - image; each > 3000 { // to hold on to a quarter of those that left takes more
			t.Errorf("%s: %d bytes a sample beside its image", policy, each)
		}
		if s := r.Stats(); s.Samples != size || s.Bytes != size*image {
			t.Errorf("%s: %+v", policy, s)
		}
		r.Close()
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold on to goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A million samples: what a draw costs, an admission with it, and what a sample takes beside its image.
func BenchmarkReplay(b *testing.B) {
	const size, image = 1_000_000, 1000
	for _, policy := range []string{ReplayFIFO, ReplayRandom, ReplayReservoir, ReplayBalanced} {
		b.Run(policy, func(b *testing.B) {
			o := large(policy, size)
			o.Bad = BadRule{Window: 1000}
			before, n := heap(), 0
			r := filled(b, o, image, b.N, func() {
				if n++; n == 1 {
					b.ResetTimer() // it is full now
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(heap()-before)/size-image, "B/sample")
			r.Close()
		})
	}
}
