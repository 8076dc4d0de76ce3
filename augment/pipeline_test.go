package augment_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/ingest/dir"
	"mocostream/ingest/shards"
	"mocostream/internal/reuse"
	"mocostream/internal/synth"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

// writeTars writes images into shards of so many each, in a new folder.
func writeTars(t testing.TB, images [][]byte, each int) string {
	t.Helper()
	folder := t.TempDir()
	for shard := 0; shard*each < len(images); shard++ {
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("train-%06d.tar", shard)))
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(f)
		for i, img := range images[shard*each : min((shard+1)*each, len(images))] {
			err = errors.Join(err, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d.jpg", i), Mode: 0o644, Size: int64(len(img))}))
			_, writeErr := w.Write(img)
			err = errors.Join(err, writeErr)
		}
		if err := errors.Join(err, w.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// line is a pipeline from a source to batches.
type line struct {
	src  ingest.Bounded
	load loader.Options
	pool augment.PoolOptions
	make augment.Recipe
}

// run gives every batch to take, until that fails. It returns when everything has ended.
func (l line) run(ctx context.Context, take func(p *augment.Pool, f *loader.Bounded, b augment.Batch) error) error {
	from := loader.NewBounded(l.src, l.load)
	pool, err := augment.NewPool(l.make, l.pool)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	samples, batches := make(chan loader.Sample, 4), make(chan augment.Batch)
	group.Go(func() error { return from.Run(ctx, samples) })
	group.Go(func() error { return pool.Run(ctx, samples, batches) })
	group.Go(func() (err error) {
		for b := range batches {
			if err == nil {
				err = take(pool, from, b)
			}
			b.Release()
		}
		return err
	})
	err = group.Wait()
	for s := range samples { // what the loader sent when the pool had ended
		s.Release()
	}
	return err
}

// canceller is the memory of a pipeline, which is asked for all over it, by every goroutine. One of these times it
// cancels.
type canceller struct {
	*memory.CheckedAllocator
	asked, at atomic.Int64
	cancel    context.CancelFunc
}

func (c *canceller) Allocate(size int) []byte {
	if c.asked.Add(1) == c.at.Load() {
		c.cancel()
	}
	return c.CheckedAllocator.Allocate(size)
}

// sources are a folder of files and one of shards of the same images, some of them bad.
func sources(t *testing.T) map[string]func(memory.Allocator) (ingest.Bounded, func() error) {
	t.Helper()
	files, lists := t.TempDir(), t.TempDir()
	if err := synth.WriteDir(t.Context(), files, synth.Options{Classes: 2, Images: 20, Size: 16, Seed: 1}, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := os.WriteFile(filepath.Join(files, fmt.Sprintf("broken%d.jpg", i)), []byte("\xFF\xD8\xFFbroken"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(files, "*", "*.jpg"))
	if err != nil || len(names) != 20 {
		t.Fatalf("%d images, %v", len(names), err)
	}
	images := [][]byte{[]byte("\xFF\xD8\xFFbroken")}
	for _, name := range names {
		img, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	tars := writeTars(t, images, 5)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]func(memory.Allocator) (ingest.Bounded, func() error){
		"files": func(mem memory.Allocator) (ingest.Bounded, func() error) {
			src, err := dir.New(dir.Options{Root: files, ManifestDir: lists, Mem: mem})
			must(err)
			return src, src.Close
		},
		"shards": func(mem memory.Allocator) (ingest.Bounded, func() error) {
			src, err := shards.New(shards.Options{Path: tars, ManifestDir: lists, Mem: mem})
			must(err)
			return src, src.Close
		},
	}
}

// A pipeline that is cancelled at any moment leaves no goroutine and no memory behind: 200 moments, drawn from a seed,
// over which the numbers of workers and fetchers are tuned as well.
func TestCancelledAnywhereLeavesNothing(t *testing.T) {
	recipe, err := augment.NewMoCo(augment.MoCoV2(8))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range sources(t) {
		t.Run(name, func(t *testing.T) {
			moments, running := rand.New(rand.NewPCG(6, 6)), goleak.IgnoreCurrent()
			for i, most := 0, int64(0); i <= 100; i++ {
				mem := &canceller{CheckedAllocator: memory.NewCheckedAllocator(memory.NewGoAllocator())}
				if i > 0 {
					mem.at.Store(1 + moments.Int64N(most))
				}
				asked, err := cancelled(t, mem, open, recipe)
				if i == 0 {
					if most = asked; err != nil {
						t.Fatal(err)
					}
				} else if !errors.Is(err, context.Canceled) && asked >= mem.at.Load() {
					t.Fatalf("cancelled at allocation %d of %d it ended with %v", mem.at.Load(), most, err)
				}
				if mem.AssertSize(t, 0); t.Failed() {
					t.Fatalf("cancelled at allocation %d of %d", mem.at.Load(), most)
				}
				goleak.VerifyNone(t, running)
			}
		})
	}
}

// cancelled runs two epochs in the memory of mem and says how often that was asked.
func cancelled(t *testing.T, mem *canceller, open func(memory.Allocator) (ingest.Bounded, func() error), recipe augment.Recipe) (asked int64, err error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mem.cancel = cancel
	src, closeSource := open(mem)
	l := line{
		src: src, make: recipe,
		load: loader.Options{Shuffle: true, ShuffleWindow: 3, ShuffleBuffer: 9, Fetchers: 3, MemoryLimit: 20_000, Epochs: 2, Allocator: mem},
		pool: augment.PoolOptions{Batch: 4, Size: 8, Workers: 2, MaxWorkers: 3, KeepDeadImages: true, Allocator: mem},
	}
	n := 0
	err = l.run(ctx, func(p *augment.Pool, f *loader.Bounded, b augment.Batch) error {
		n++
		p.SetWorkers(1 + n%3)
		f.SetFetchers(1 + n%4)
		return nil
	})
	if closeErr := closeSource(); closeErr != nil {
		t.Error(closeErr)
	}
	if err == nil && ctx.Err() != nil { // it was done by then
		err = ctx.Err()
	}
	return mem.asked.Load(), err
}

// nothing is a recipe that leaves the views as they are: what remains is the pipeline's own work.
type nothing struct{}

func (nothing) Clone() augment.Recipe { return nothing{} }

func (nothing) Views([]augment.View, []byte, func(int) *rand.Rand) (uint64, error) { return 0, nil }

// BenchmarkPipeline is the cost of an image of 100 KiB from a tar shard to a released batch, beside decoding and rendering.
func BenchmarkPipeline(b *testing.B) {
	images := make([][]byte, 1600)
	for i := range images {
		images[i] = make([]byte, 100<<10)
	}
	src, err := shards.New(shards.Options{Path: writeTars(b, images, 100), ManifestDir: b.TempDir(), Mem: reuse.New()})
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Manifest(b.Context()); err != nil {
		b.Fatal(err)
	}
	enough := errors.New("enough")
	l := line{
		src: src, make: nothing{},
		load: loader.Options{Shuffle: true, ShuffleWindow: 8, ShuffleBuffer: 1024, Allocator: reuse.New()},
		pool: augment.PoolOptions{Batch: 64, Size: 224, Workers: 2},
	}
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	err = l.run(b.Context(), func(_ *augment.Pool, _ *loader.Bounded, batch augment.Batch) error {
		if n += batch.Len(); n >= b.N {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		b.Fatal(err)
	}
}
