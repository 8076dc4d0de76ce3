package augment

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// slow takes a second an image, of the time of a synctest bubble.
type slow struct{ fakeRecipe }

func (s slow) Clone() Recipe { return s }

func (s slow) Views(dst []View, img []byte, rng func(int) *rand.Rand) (uint64, error) {
	time.Sleep(time.Second)
	return s.fakeRecipe.Views(dst, img, rng)
}

func TestStatsNameTheBottleneck(t *testing.T) {
	samples := fakeRun{source: fakeSource(t, 4), epochs: 1}.samples(t)
	for _, c := range []struct {
		name                string
		recipe              Recipe
		beforeEach, perStep time.Duration
		want                Stats
	}{
		{"source", fakeRecipe{}, time.Second, 0, Stats{WaitInput: 4 * time.Second}},
		// Batches 1 and 2 fill both buffers; 3 and 4 wait for a step each, the end of the input for none.
		{"trainer", fakeRecipe{}, 0, time.Second, Stats{WaitOutput: 2 * time.Second}},
		{"pool", slow{}, 0, 0, Stats{Busy: 4 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := NewPool(c.recipe, PoolOptions{Batch: 1, Size: 1, Workers: 1, Buffers: 2})
				if err != nil {
					t.Fatal(err)
				}
				feed, out := make(chan loader.Sample), make(chan Batch)
				go func() {
					defer close(feed)
					for _, s := range samples {
						time.Sleep(c.beforeEach)
						feed <- loader.Sample{Record: s.Record, Row: s.Row, Position: s.Position, After: s.After}
					}
				}()
				go func() {
					if err := p.Run(t.Context(), feed, out); err != nil {
						t.Error(err)
					}
				}()
				for b := range out {
					time.Sleep(c.perStep)
					b.Release()
				}
				synctest.Wait()
				got := p.Stats()
				if got.Busy != c.want.Busy || got.WaitInput != c.want.WaitInput || got.WaitOutput != c.want.WaitOutput {
					t.Errorf("busy %v, waited for input %v, for output %v; want %+v", got.Busy, got.WaitInput, got.WaitOutput, c.want)
				}
			})
		})
	}
}

func TestStatsCountAWaitThatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := NewPool(fakeRecipe{}, PoolOptions{Batch: 1, Size: 1, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx, make(chan loader.Sample), make(chan Batch)) }()
		time.Sleep(time.Minute)
		if s := p.Stats(); s.WaitInput != time.Minute {
			t.Errorf("waited %v for a source that hangs since a minute", s.WaitInput)
		}
		cancel()
		<-ended
	})
}

// The encoded bytes go back to the loader long before the batch is whole.
func TestSamplesAreReleasedBeforeTheirBatch(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	source := fakeSource(t, 3)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := NewPool(fakeRecipe{}, PoolOptions{Batch: 100, Size: 1, Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		loaded, _ := fakeRun{source: source, epochs: 1}.load(ctx, mem)
		feed, ended := make(chan loader.Sample), make(chan error, 1)
		go func() { ended <- p.Run(ctx, feed, make(chan Batch)) }()
		for s := range loaded {
			feed <- s
		}
		synctest.Wait()
		mem.AssertSize(t, 0)
		cancel()
		<-ended
	})
}
