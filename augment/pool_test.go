package augment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

var workerCounts = []int{1, 2, 7}

// Every pattern of bad samples over three batches and two epochs: first, last, all of a batch, the ends of the input.
func TestEveryBadPatternEqualsSequential(t *testing.T) {
	const n = 5
	source := fakeSource(t, n)
	for pattern := range 1 << n {
		fates := []byte(strings.Repeat(string(fateGood), n))
		for i := range n {
			if pattern>>i&1 == 1 {
				fates[i] = fateBad
			}
		}
		r := fakeRun{
			source: source, epochs: 2,
			recipe: fakeRecipe{fates: string(fates), jitter: true},
			opts:   PoolOptions{Batch: 3, Size: 2, Buffers: 1 + pattern%3, Seed: 5, KeepDeadImages: pattern%2 == 0},
		}
		want, _ := r.sequential(t)
		for _, r.opts.Workers = range workerCounts {
			got, _, err := r.pooled(t)
			if err != nil {
				t.Fatal(err)
			}
			compareBatches(t, fmt.Sprintf("%s on %d workers", fates, r.opts.Workers), got, want)
		}
	}
}

func randomFates(rng *rand.Rand, n, percentBad int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = fateGood
		if rng.IntN(100) < percentBad {
			b[i] = fateBad
		}
	}
	return string(b)
}

func TestSameOnAnyWorkersAndFromAnyToken(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	source := fakeSource(t, 41)
	for _, percent := range []int{0, 5, 60} {
		r := fakeRun{
			source: source, epochs: 3,
			recipe: fakeRecipe{fates: randomFates(rng, 41, percent), jitter: true},
			opts:   PoolOptions{Batch: 8, Size: 3, Seed: 11, Bad: loader.BadRule{MaxFraction: 0.9, Window: 100}},
		}
		want, failed := r.sequential(t)
		if failed || len(want) < 5 {
			t.Fatalf("%d %% bad: %d batches, failed %v", percent, len(want), failed)
		}
		var tokens []loader.Token
		for _, r.opts.Workers = range workerCounts {
			got, after, err := r.pooled(t)
			if err != nil {
				t.Fatal(err)
			}
			compareBatches(t, fmt.Sprintf("%d %% bad, %d workers", percent, r.opts.Workers), got, want)
			tokens = after
		}
		for i, token := range tokens {
			r.opts.Start, r.opts.Workers = token, workerCounts[i%len(workerCounts)]
			got, _, err := r.pooled(t)
			if err != nil {
				t.Fatal(err)
			}
			compareBatches(t, fmt.Sprintf("%d %% bad, %d workers, from token %d", percent, r.opts.Workers, i), got, want[i+1:])
		}
		r.opts.Start, r.opts.Workers, r.opts.MaxWorkers, r.tuned = loader.Token{}, 1, 9, true
		got, _, err := r.pooled(t)
		if err != nil {
			t.Fatal(err)
		}
		compareBatches(t, fmt.Sprintf("%d %% bad, 1 to 9 workers in turns", percent), got, want)
	}
}

// A run that has to stop does so behind the same batch on any number of workers, and says why.
func TestStopsAtTheSamePlace(t *testing.T) {
	for _, c := range []struct{ name, fates, want string }{
		{"fatal", "gggggggbgggegggggggggggggg", `render sample 11, "img/11": device on fire`},
		{"panic", "gggggggbgggpgggggggggggggg", `render sample 11, "img/11": panic: index out of range`},
		{"too many bad", "ggggggggbgbgbggggggggggggg", "3 of the last 8 samples cannot be decoded"},
		{"first", "eggggg", "device on fire"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := fakeRun{
				source: fakeSource(t, len(c.fates)), epochs: 1,
				recipe: fakeRecipe{fates: c.fates, jitter: true},
				opts:   PoolOptions{Batch: 4, Size: 2, Bad: loader.BadRule{MaxFraction: 0.25, Window: 8}},
			}
			want, failed := r.sequential(t)
			if !failed {
				t.Fatal("the sequential run did not stop")
			}
			for _, r.opts.Workers = range workerCounts {
				got, _, err := r.pooled(t)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want %q in it", err, c.want)
				}
				if strings.Contains(c.want, "fire") && !errors.Is(err, errFatal) {
					t.Errorf("error %v does not wrap the recipe's", err)
				}
				compareBatches(t, c.name, got, want)
			}
		})
	}
}

// What was whole before a failure is delivered, however late the trainer asks for it.
func TestBatchesBeforeAFailureAreDelivered(t *testing.T) {
	source := fakeSource(t, 5)
	synctest.Test(t, func(t *testing.T) {
		p, err := NewPool(fakeRecipe{fates: "gggge"}, PoolOptions{Batch: 2, Size: 1, Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		feed, _ := fakeRun{source: source, epochs: 1}.load(t.Context(), nil)
		out, ended := make(chan Batch), make(chan error, 1)
		go func() { ended <- p.Run(t.Context(), feed, out) }()
		synctest.Wait()
		n := 0
		for b := range out {
			b.Release()
			n++
		}
		if err := <-ended; n != 2 || !errors.Is(err, errFatal) {
			t.Errorf("%d batches, then %v", n, err)
		}
	})
}

// What waits for a worker is not rendered any more after a cancellation.
func TestCancelIsPrompt(t *testing.T) {
	source := fakeSource(t, 20)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := NewPool(slow{}, PoolOptions{Batch: 20, Size: 1, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		feed, _ := fakeRun{source: source, epochs: 1}.load(ctx, nil)
		time.AfterFunc(time.Second/2, cancel)
		start := time.Now()
		if err := p.Run(ctx, feed, make(chan Batch)); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("cancelled after half of the first image's second, Run took %v", took)
		}
	})
}

func TestDeadLettersBehindTheLastBatch(t *testing.T) {
	r := fakeRun{source: fakeSource(t, 7), epochs: 1}
	p, err := NewPool(fakeRecipe{fates: "ggggbgb"}, PoolOptions{Batch: 4, Size: 1, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	feed, loaded := r.load(t.Context(), nil)
	out := make(chan Batch, 1)
	if err := errors.Join(p.Run(t.Context(), feed, out), <-loaded); err != nil {
		t.Fatal(err)
	}
	b := <-out
	b.Release()
	dead := p.Undelivered()
	if len(b.Dead) != 0 || len(dead) != 2 || dead[0].Position != 4 || dead[1].Position != 6 {
		t.Errorf("batch has %v, behind it are %v", b.Dead, dead)
	}
	if s := p.Stats(); s.Images != 5 || s.Bad[ReasonTruncated] != 2 || s.Workers != 2 {
		t.Errorf("stats %+v", s)
	}
}

// Cancelled at any moment, a pool gives everything back.
func TestCancelLeaksNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	source := fakeSource(t, 60)
	for round := range 60 {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		ctx, cancel := context.WithCancel(t.Context())
		r := fakeRun{source: source}
		feed, loaded := r.load(ctx, mem)
		p, err := NewPool(fakeRecipe{fates: randomFates(rng, 60, 10), jitter: true},
			PoolOptions{Batch: 4, Size: 2, Workers: workerCounts[round%3], Allocator: mem})
		if err != nil {
			t.Fatal(err)
		}
		out, ended := make(chan Batch, round%3), make(chan error, 1)
		go func() { ended <- p.Run(ctx, feed, out) }()
		for range rng.IntN(8) {
			b := <-out
			b.Release()
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("round %d: Run returned %v", round, err)
		}
		for b := range out { // closed by Run
			b.Release()
		}
		for s := range feed {
			s.Release()
		}
		<-loaded
		mem.AssertSize(t, 0)
	}
}

// What lies in the input's channel when a run ends is released: its sender has gone.
func TestReleasesWhatTheChannelHolds(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	ctx, cancel := context.WithCancel(t.Context())
	feed, loaded := fakeRun{source: fakeSource(t, 20), epochs: 1}.load(ctx, mem)
	full := make(chan loader.Sample, 20)
	for s := range feed {
		full <- s
	}
	<-loaded
	p, err := NewPool(fakeRecipe{}, PoolOptions{Batch: 4, Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.Run(ctx, full, make(chan Batch)); !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	mem.AssertSize(t, 0)
}

// A trainer that keeps a record beyond Release keeps its pixels, too, even beyond Run.
func TestRetainedRecordStaysIntact(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	r := fakeRun{
		source: fakeSource(t, 40), epochs: 1,
		opts: PoolOptions{Batch: 4, Size: 3, Workers: 2, Buffers: 2, Allocator: mem},
	}
	want, _ := r.sequential(t)
	p, err := NewPool(fakeRecipe{}, r.opts)
	if err != nil {
		t.Fatal(err)
	}
	feed, loaded := r.load(t.Context(), mem)
	out, ended := make(chan Batch), make(chan error, 1)
	go func() { ended <- p.Run(t.Context(), feed, out) }()
	first := <-out
	kept := first
	kept.Record.Retain()
	first.Release()
	first.Release() // the second does nothing
	for b := range out {
		b.Release()
	}
	if err := errors.Join(<-ended, <-loaded); err != nil {
		t.Fatal(err)
	}
	if got := flatten(&kept); !got.equal(want[0]) {
		t.Error("the retained record changed")
	}
	kept.Record.Release()
	mem.AssertSize(t, 0)
}

func TestBatchFollowsTheSchema(t *testing.T) {
	r := fakeRun{source: fakeSource(t, 6), epochs: 1}
	p, err := NewPool(fakeRecipe{}, PoolOptions{Batch: 3, Size: 5, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	feed, _ := r.load(t.Context(), nil)
	out := make(chan Batch, 2)
	if err := p.Run(t.Context(), feed, out); err != nil {
		t.Fatal(err)
	}
	for b := range out {
		if !b.Record.Schema().Equal(BatchSchema(5)) || b.Len() != 3 || b.Size != 5 {
			t.Errorf("%d images of size %d, schema %v", b.Len(), b.Size, b.Record.Schema())
		}
		for _, pixels := range [][]byte{b.Query(), b.Key()} {
			if len(pixels) != 3*5*5*3 || uintptr(unsafe.Pointer(&pixels[0]))%64 != 0 {
				t.Errorf("%d bytes at %p", len(pixels), &pixels[0])
			}
		}
		b.Release()
	}
}

// A stream's token holds the offsets consumed so far, and a run goes on from it.
func TestStreamTokens(t *testing.T) {
	samples := fakeSamples(12)
	for i := range samples {
		samples[i].ID = ingest.ID{Source: "topic", Partition: int32(i % 2), Offset: int64(i)}
	}
	stream := ingesttest.NewFakeStream(samples...)
	first := streamed(t, stream, loader.Token{}, 2)
	progress := first[0].Token.Progress
	for i, s := range samples {
		if want := i < 5; progress.Contains(s.ID) != want { // 4 good ones and the bad one among them
			t.Errorf("sample %d is consumed: %v, want %v", i, !want, want)
		}
	}
	again := streamed(t, stream, first[0].Token, 1)
	if a, b := streamRow(first[1]), streamRow(again[0]); a != b || first[1].Token.Position != again[0].Token.Position {
		t.Errorf("the second batch begins with %s, after a resume with %s", a, b)
	}
}

// streamed returns the first n batches. They stay on Go's heap, unreleased.
func streamed(t *testing.T, stream ingest.Stream, start loader.Token, n int) []Batch {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	feed, loaded := make(chan loader.Sample), make(chan error, 1)
	l := loader.NewStream(stream, loader.Options{Start: start})
	go func() { loaded <- l.Run(ctx, feed) }()
	p, err := NewPool(fakeRecipe{fates: "ggb", jitter: true}, PoolOptions{Batch: 4, Size: 2, Workers: 3, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	out, ended := make(chan Batch), make(chan error, 1)
	go func() { ended <- p.Run(ctx, feed, out) }()
	var batches []Batch
	for range n {
		batches = append(batches, <-out)
	}
	cancel()
	<-ended
	<-loaded
	return batches
}

func streamRow(b Batch) string {
	return b.Record.Column(ColKey).ValueStr(0) + fmt.Sprint(b.Query()[:12])
}

// meeting is a recipe that goes on only when as many workers as it expects are inside.
type meeting struct {
	fakeRecipe
	all *sync.WaitGroup
}

func (m meeting) Clone() Recipe { return m }

func (m meeting) Views(dst []View, img []byte, rng func(int) *rand.Rand) (uint64, error) {
	m.all.Done()
	m.all.Wait()
	return m.fakeRecipe.Views(dst, img, rng)
}

func TestWorkersRunConcurrently(t *testing.T) {
	var all sync.WaitGroup
	all.Add(4)
	p, err := NewPool(meeting{all: &all}, PoolOptions{Batch: 4, Size: 1, Workers: 4})
	if err != nil {
		t.Fatal(err)
	}
	feed, _ := fakeRun{source: fakeSource(t, 4), epochs: 1}.load(t.Context(), nil)
	out := make(chan Batch, 1)
	if err := p.Run(t.Context(), feed, out); err != nil || len(out) != 1 {
		t.Errorf("%d batches, %v", len(out), err)
	}
}

func TestNewPoolRefuses(t *testing.T) {
	for _, c := range []struct {
		opts PoolOptions
		want string
	}{
		{PoolOptions{Size: 1}, "batch is 0"},
		{PoolOptions{Batch: 1}, "size is 0"},
		{PoolOptions{Batch: 1, Size: 1, Workers: -1}, "workers is -1"},
		{PoolOptions{Batch: 1, Size: 1, Buffers: -2}, "buffers is -2"},
	} {
		if _, err := NewPool(fakeRecipe{}, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q in it", c.opts, err, c.want)
		}
	}
}

// The pool's own cost: the recipe only touches the pixels.
func BenchmarkPool(b *testing.B) {
	for _, size := range []int{32, 224} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p, err := NewPool(touch{}, PoolOptions{Batch: 64, Size: size})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			sample := fakeRun{source: fakeSource(b, 1), epochs: 1}.samples(b)[0]
			sample = loader.Sample{Record: sample.Record, After: sample.After} // without its one release
			feed, out, ended := make(chan loader.Sample, 64), make(chan Batch), make(chan error, 1)
			go func() {
				for {
					select {
					case feed <- sample:
					case <-ctx.Done():
						return
					}
				}
			}()
			go func() { ended <- p.Run(ctx, feed, out) }()
			b.ReportAllocs()
			images := 0
			for b.Loop() {
				batch := <-out
				images += batch.Len()
				batch.Release()
			}
			b.ReportMetric(float64(images)/b.Elapsed().Seconds(), "images/s")
			cancel()
			<-ended
			for batch := range out {
				batch.Release()
			}
		})
	}
}

type touch struct{}

func (t touch) Clone() Recipe { return t }

func (touch) Views(dst []View, img []byte, rng func(int) *rand.Rand) (uint64, error) {
	for v := range dst {
		clear(dst[v].Pix)
		dst[v].Pix[0] = byte(rng(v).Uint32())
	}
	return 0, nil
}
