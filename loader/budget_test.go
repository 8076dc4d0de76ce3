package loader

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mocostream/ingest/ingesttest"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// tall is an allocator that knows the most bytes that lived at the same time.
type tall struct {
	memory.Allocator
	mu        sync.Mutex
	now, peak int
}

func (a *tall) count(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now += n
	a.peak = max(a.peak, a.now)
}

func (a *tall) Allocate(n int) []byte { a.count(n); return a.Allocator.Allocate(n) }
func (a *tall) Free(b []byte)         { a.count(-len(b)); a.Allocator.Free(b) }
func (a *tall) Reallocate(n int, b []byte) []byte {
	a.count(n - len(b))
	return a.Allocator.Reallocate(n, b)
}

// TestBoundedStaysBelowItsLimit stalls the consumer until nothing moves any more, then takes a sample, and so on.
func TestBoundedStaysBelowItsLimit(t *testing.T) {
	const limit, size = 200_000, 10_000
	for name, counts := range map[string][]int64{"files": equalCounts(100, 1), "shards": {30, 30, 30, 30}} {
		t.Run(name, func(t *testing.T) {
			var parts [][]ingesttest.Sample
			for p, n := range counts {
				parts = append(parts, ingesttest.Generate(int32(p), int(n), size))
				for i := range parts[p] {
					parts[p][i].Image = parts[p][i].Image[:size/2+(p*977+i*331)%(size/2)]
				}
			}
			src := ingesttest.NewFakeBounded(t, parts...)
			mem := &tall{Allocator: checked(t)}
			src.Mem, src.Rows = mem, 1
			synctest.Test(t, func(t *testing.T) {
				l := NewBounded(src, Options{Shuffle: true, ShuffleWindow: 2, ShuffleBuffer: 40, MemoryLimit: limit,
					Fetchers: 4, Epochs: 1, Allocator: mem})
				held := stall(t, l)
				if held > limit || held < limit/2 {
					t.Errorf("at most %d bytes were held, the limit is %d", held, limit)
				}
			})
			const columns = 2000 // of a record, beside its image
			if bound := limit + (limit/size*2+4)*columns + 4*size; mem.peak > bound {
				t.Errorf("%d bytes lived at a time, want at most %d", mem.peak, bound)
			}
		})
	}
}

// stall lets l stand still before each sample it takes and returns the most bytes held at such a moment.
func stall(t *testing.T, l *Bounded) (most int64) {
	t.Helper()
	out := make(chan Sample)
	ended := make(chan error, 1)
	go func() { ended <- l.Run(t.Context(), out) }()
	for {
		synctest.Wait()
		most = max(most, l.Stats().Held)
		s, ok := <-out
		if !ok {
			break
		}
		s.Release()
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Held != 0 {
		t.Errorf("at the end %d bytes are held", s.Held)
	}
	return most
}

// TestBoundedWaitsForAHolder has a consumer that keeps some samples at all times.
func TestBoundedWaitsForAHolder(t *testing.T) {
	for _, name := range []string{"files", "shards"} {
		src := fake(t, orderCases[name].counts...)
		o := orderCases[name].opts
		o.MemoryLimit, o.Epochs, o.Allocator = 500, 2, src.Mem
		l := NewBounded(src, o)
		out := make(chan Sample)
		ended := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		go func() { ended <- l.Run(ctx, out) }()
		var kept []Sample
		for s := range out {
			if kept = append(kept, s); len(kept) > 3 { // at most 4 of 100 bytes
				kept[0].Release()
				kept = kept[1:]
			}
		}
		for _, s := range kept {
			s.Release()
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBoundedCountsRereads(t *testing.T) {
	run := func(limit int64) Stats {
		src := fake(t, 50, 50, 50)
		src.Rows = 1
		l := NewBounded(src, Options{Shuffle: true, ShuffleWindow: 3, ShuffleBuffer: 60, MemoryLimit: limit, Epochs: 1, Allocator: src.Mem})
		if _, _, err := consume(t, l.Run, Token{}, 0); err != nil {
			t.Fatal(err)
		}
		return l.Stats()
	}
	if s := run(1000); s.Rereads == 0 || s.Rereads > 150 {
		t.Errorf("a shuffle buffer of three times the limit: %+v", s)
	}
	if s := run(0); s.Rereads != 0 || s.Bytes == 0 || s.Limit != DefaultMemoryLimit {
		t.Errorf("with memory to spare: %+v", s)
	}
}
