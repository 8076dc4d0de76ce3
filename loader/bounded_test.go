package loader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// partitionsOf makes partitions of samples of all kinds of lengths.
func partitionsOf(counts ...int64) [][]ingesttest.Sample {
	all := make([][]ingesttest.Sample, len(counts))
	for p, n := range counts {
		all[p] = ingesttest.Generate(int32(p), int(n), 100)
		for i := range all[p] {
			all[p][i].Image = all[p][i].Image[:1+(37*p+11*i)%100]
		}
	}
	return all
}

// hurried makes the reads of a source end in any order.
func hurried(ctx context.Context, _ ingest.ID) error {
	for range rand.IntN(20) {
		runtime.Gosched()
	}
	return ctx.Err()
}

// received is what a test keeps of a sample.
type received struct {
	id       ingest.ID
	key      string
	image    string
	epoch    int64
	position uint64
	after    ingest.Position
}

func keep(s *Sample) received {
	return received{s.ID(), s.Key(), string(s.Image()), s.Epoch, s.Position, s.After}
}

// consume runs a loader until n samples are there (0: until it ends), and returns them, the token after them and Run's
// error. It releases everything, and hangs for 20 seconds at most.
func consume(t testing.TB, run func(context.Context, chan<- Sample) error, token Token, n int) ([]received, Token, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out := make(chan Sample, 3)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, out) }()
	token = token.Clone()
	var all []received
	for s := range out {
		if n == 0 || len(all) < n {
			all = append(all, keep(&s))
			token.Consume(&s)
		}
		s.Release()
		if len(all) == n {
			cancel()
		}
	}
	err := <-ended
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("it hangs after %d samples", len(all))
	}
	return all, token, err
}

// checked is an allocator that t verifies.
func checked(t *testing.T) memory.Allocator {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

func fake(t *testing.T, counts ...int64) *ingesttest.FakeBounded {
	src := ingesttest.NewFakeBounded(t, partitionsOf(counts...)...)
	src.Before, src.Mem = hurried, checked(t)
	return src
}

func TestBoundedRunsInOrder(t *testing.T) {
	for name, c := range orderCases {
		for _, variant := range []struct {
			rows, fetchers int
			memory         int64
		}{{1, 1, 0}, {3, 3, 0}, {2, 8, 700}, {1, 4, 1}, {3, 2, 1}} {
			t.Run(fmt.Sprintf("%s/%+v", name, variant), func(t *testing.T) {
				src := fake(t, c.counts...)
				src.Rows = variant.rows
				o := c.opts
				o.Seed, o.Epochs, o.Allocator = 3, 2, src.Mem
				o.Fetchers, o.MemoryLimit = variant.fetchers, variant.memory
				m, _ := src.Manifest(t.Context())
				want := ordered(t, m, o, ingest.Position{})
				l := NewBounded(src, o)
				got, token, err := consume(t, l.Run, Token{}, 0)
				if err != nil {
					t.Fatal(err)
				}
				checkReceived(t, src, want, got)
				if token.Position != uint64(len(want)) || *token.Progress.Bounded != want[len(want)-1].after {
					t.Errorf("token is %+v", token)
				}
				if s := l.Stats(); s.Samples != uint64(len(want)) || s.Held != 0 {
					t.Errorf("stats are %+v", s)
				}
			})
		}
	}
}

// The number of fetchers changes with every sample.
func TestBoundedKeepsItsOrderWhileItIsTuned(t *testing.T) {
	for name, c := range orderCases {
		t.Run(name, func(t *testing.T) {
			src := fake(t, c.counts...)
			o := c.opts
			o.Seed, o.Epochs, o.Allocator, o.Fetchers = 3, 2, src.Mem, 1
			m, _ := src.Manifest(t.Context())
			l := NewBounded(src, o)
			src.Before = func(ctx context.Context, id ingest.ID) error {
				l.SetFetchers(1 + rand.IntN(9))
				return hurried(ctx, id)
			}
			got, _, err := consume(t, l.Run, Token{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			checkReceived(t, src, ordered(t, m, o, ingest.Position{}), got)
		})
	}
}

func checkReceived(t *testing.T, src *ingesttest.FakeBounded, want []draw, got []received) {
	t.Helper()
	images := map[ingest.ID]ingesttest.Sample{}
	for _, s := range src.Samples() {
		images[s.ID] = s
	}
	if len(got) != len(want) {
		t.Fatalf("got %d samples, want %d", len(got), len(want))
	}
	for i, d := range want {
		g := got[i]
		id := ingest.ID{Source: d.after.Source, Partition: d.partition, Offset: d.offset}
		s := images[id]
		if g != (received{id, s.Key, string(s.Image), d.epoch, uint64(i), d.after}) {
			t.Fatalf("sample %d is %+v, want %+v", i, g, d)
		}
	}
}

func TestBoundedResumesAnywhere(t *testing.T) {
	for _, name := range []string{"files", "files in order", "shards", "shards, merge alone", "shards in order", "as many as partitions"} {
		t.Run(name, func(t *testing.T) {
			c := orderCases[name]
			src := fake(t, c.counts...)
			src.Mem = nil // checked allocators take their time
			o := c.opts
			o.Seed, o.Epochs, o.Fetchers = 9, 3, 4
			all, _, err := consume(t, NewBounded(src, o).Run, Token{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			m, _ := src.Manifest(t.Context())
			draws := ordered(t, m, o, ingest.Position{})
			for cut := 1; cut <= len(all); cut += 1 + len(all)/25 { // every one: TestOrderGoesOnAnywhere
				token := Token{Position: uint64(cut), Progress: ingest.Progress{Bounded: &draws[cut-1].after}}
				o.Fetchers, o.MemoryLimit, o.Start = 1+cut%7, int64(cut%3)*500, stored(t, token)
				rest, end, err := consume(t, NewBounded(src, o).Run, o.Start, 0)
				if err != nil || !slices.Equal(rest, all[cut:]) {
					t.Fatalf("resumed after %d of %d samples it goes on with %d others (error: %v)", cut, len(all), len(rest), err)
				}
				if want := uint64(len(all)); end.Position != want || end.Progress.Bounded.Epoch != 3 {
					t.Fatalf("resumed after %d samples it ends at %+v", cut, end)
				}
			}
		})
	}
}

// stored is what a checkpoint makes of a token.
func stored(t *testing.T, token Token) Token {
	t.Helper()
	data, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	var back Token
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func TestBoundedResumesWithinTheSameReads(t *testing.T) {
	var mu sync.Mutex
	lowest := map[int32]int64{}
	src := fake(t, 40, 40, 40)
	src.Rows = 1
	o := Options{Seed: 1, Shuffle: true, ShuffleWindow: 3, ShuffleBuffer: 4, Epochs: 1, Allocator: src.Mem}
	m, _ := src.Manifest(t.Context())
	for _, d := range ordered(t, m, o, ingest.Position{Index: 80}) {
		if first, ok := lowest[d.partition]; !ok || d.offset < first {
			lowest[d.partition] = d.offset
		}
	}
	src.Before = func(_ context.Context, next ingest.ID) error {
		mu.Lock()
		defer mu.Unlock()
		if next.Offset < lowest[next.Partition] {
			t.Errorf("sample %d of shard %d is read again", next.Offset, next.Partition)
		}
		return nil
	}
	o.Start.Progress.Bounded = &ingest.Position{Source: m.Hash(), Index: 80}
	l := NewBounded(src, o)
	got, _, err := consume(t, l.Run, o.Start, 0)
	if err != nil || len(got) != 40 || l.Stats().Rereads != 0 {
		t.Errorf("got %d samples, error %v, stats %+v", len(got), err, l.Stats())
	}
}

func TestBoundedCancelledLeavesNothing(t *testing.T) {
	for _, name := range []string{"files", "shards"} {
		src := fake(t, orderCases[name].counts...)
		for i := range 15 {
			src.Rows = 1 + i%3
			o := orderCases[name].opts
			o.Allocator, o.Fetchers, o.MemoryLimit = src.Mem, 1+i%5, int64(i%4)*300
			_, _, err := consume(t, NewBounded(src, o).Run, Token{}, 1+rand.IntN(70))
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("cancelled it returns %v", err)
			}
		}
	}
}

func TestBoundedCancelledWhileTheSourceHangs(t *testing.T) {
	for _, name := range []string{"files", "shards"} {
		src := fake(t, orderCases[name].counts...)
		ctx, cancel := context.WithCancel(t.Context())
		src.Before = func(ctx context.Context, _ ingest.ID) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		o := orderCases[name].opts
		o.Allocator = src.Mem
		if err := NewBounded(src, o).Run(ctx, make(chan Sample)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: it returns %v", name, err)
		}
	}
}

func TestBoundedSourceErrorComesAtItsTurn(t *testing.T) {
	boom := errors.New("disk on fire")
	for _, name := range []string{"files", "shards", "shards in order"} {
		for _, limit := range []int64{0, 1} {
			c := orderCases[name]
			src := fake(t, c.counts...)
			src.Rows = 1
			o := c.opts
			o.Seed, o.Epochs, o.MemoryLimit, o.Allocator = 4, 1, limit, src.Mem
			m, _ := src.Manifest(t.Context())
			want := ordered(t, m, o, ingest.Position{})
			bad := want[len(want)*2/3].slot
			src.Before = func(_ context.Context, next ingest.ID) error {
				if next.Partition == bad.partition && next.Offset == bad.offset {
					return boom
				}
				return nil
			}
			got, _, err := consume(t, NewBounded(src, o).Run, Token{}, 0)
			named := fmt.Sprintf("read sample %d of partition-%06d", bad.offset, bad.partition)
			// A shard stops being read at its first error, so that a later sample of it may come first in the order.
			at := slices.IndexFunc(want, func(d draw) bool { return d.partition == bad.partition && d.offset >= bad.offset })
			if !errors.Is(err, boom) || !strings.Contains(err.Error(), named) || len(got) < at || len(got) > len(want)*2/3 {
				t.Errorf("%s, limit %d: after %d samples (the bad one is %d): %v", name, limit, len(got), len(want)*2/3, err)
			}
		}
	}
}

func TestBoundedRefusesWhatItCannotGoOnWith(t *testing.T) {
	src := fake(t, 5, 5)
	m, _ := src.Manifest(t.Context())
	at := func(source string, epoch, index int64) Options {
		return Options{Start: Token{Progress: ingest.Progress{Bounded: &ingest.Position{Source: source, Epoch: epoch, Index: index}}}}
	}
	for want, o := range map[string]Options{
		"train.init_from":                at("another", 0, 3),
		"the source has 10 samples":      at(m.Hash(), 0, 11),
		"epoch -1":                       at(m.Hash(), -1, 0),
		"the shuffle window is -1":       {ShuffleWindow: -1},
		"the memory limit is -5, less t": {MemoryLimit: -5},
	} {
		_, _, err := consume(t, NewBounded(src, o).Run, Token{}, 0)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got: %v", want, err)
		}
	}
	var changed *SourceChangedError
	if _, _, err := consume(t, NewBounded(src, at("another", 0, 3)).Run, Token{}, 0); !errors.As(err, &changed) {
		t.Errorf("another manifest gives %v", err)
	}
	empty := ingesttest.NewFakeBounded(t, nil, nil)
	if _, _, err := consume(t, NewBounded(empty, Options{}).Run, Token{}, 0); err == nil {
		t.Error("a source without samples is no error")
	}
}

func TestBoundedEndsAfterItsEpochs(t *testing.T) {
	src := fake(t, 5, 5)
	m, _ := src.Manifest(t.Context())
	for _, at := range []ingest.Position{{Epoch: 2}, {Epoch: 1, Index: 10}, {Epoch: 7, Index: 3}} {
		at.Source = m.Hash()
		o := Options{Epochs: 2, Start: Token{Progress: ingest.Progress{Bounded: &at}}}
		if got, _, err := consume(t, NewBounded(src, o).Run, Token{}, 0); err != nil || len(got) != 0 {
			t.Errorf("from %+v it sends %d samples and returns %v", at, len(got), err)
		}
	}
}

// shrunk is a source that has fewer samples than its manifest says.
type shrunk struct{ *ingesttest.FakeBounded }

func (s shrunk) Read(ctx context.Context, partition int32, from int64) (ingest.Reader, error) {
	return s.FakeBounded.Read(ctx, 1, from)
}

func TestBoundedNoticesAChangedSource(t *testing.T) {
	_, _, err := consume(t, NewBounded(shrunk{fake(t, 9, 0)}, Options{}).Run, Token{}, 0)
	if !errors.Is(err, ingest.ErrChanged) {
		t.Errorf("an early end gives %v", err)
	}
	_, _, err = consume(t, NewBounded(shrunk{fake(t, 9, 9)}, Options{}).Run, Token{}, 0)
	if err == nil || !strings.Contains(err.Error(), "of partition 1 instead") {
		t.Errorf("another sample gives %v", err)
	}
}

func BenchmarkBounded(b *testing.B) {
	const samples, size = 4096, 20_000
	kinds := map[string][][]ingesttest.Sample{"shards": nil, "files": nil}
	for p := range 16 {
		kinds["shards"] = append(kinds["shards"], ingesttest.Generate(int32(p), samples/16, size))
	}
	for p := range samples {
		kinds["files"] = append(kinds["files"], ingesttest.Generate(int32(p), 1, size))
	}
	for _, rows := range []int{1, 8} {
		for kind, parts := range kinds {
			b.Run(fmt.Sprintf("%s/rows=%d", kind, rows), func(b *testing.B) {
				src := ingesttest.NewFakeBounded(b, parts...)
				src.Rows = rows
				ctx, cancel := context.WithCancel(b.Context())
				out := make(chan Sample, 64)
				ended := make(chan error, 1)
				l := NewBounded(src, Options{Shuffle: true, ShuffleWindow: 16, ShuffleBuffer: 512})
				go func() { ended <- l.Run(ctx, out) }()
				for b.Loop() {
					s := <-out
					s.Release()
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "samples/s")
				b.SetBytes(size)
				cancel()
				for s := range out {
					s.Release()
				}
				if err := <-ended; !errors.Is(err, context.Canceled) {
					b.Error(err)
				}
			})
		}
	}
}
