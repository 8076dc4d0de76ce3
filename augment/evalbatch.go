package augment

import (
	"context"
	"crypto/sha256"
	"fmt"

	"mocostream/ingest"
	"mocostream/internal/flow"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sync/errgroup"
)

// EvalBatch is one view of each of n images, for evaluation. Pixels are valid until emit returns; the rest stays.
type EvalBatch struct {
	Pixels []byte // [n, Size, Size, 3] uint8, RGB
	Size   int    // height and width of a view in pixels
	IDs    []ingest.ID
	Keys   []string   // paths or keys
	Labels []int32    // -1: the source gave none
	SHA256 [][32]byte // of the encoded bytes

	release func()
}

// Len returns n, the number of images, at least 1.
func (b *EvalBatch) Len() int { return len(b.Keys) }

// EvalBatches renders one view of every sample of in, on several workers (0: one a processor), and calls emit with batches
// of batch images, the last one shorter, in the order of the samples. emit is called by one goroutine at a time, while the
// next batch is rendered. render is called once for each worker; what it returns is used by that worker alone, and keeps
// nothing of the sample.
//
// Images that cannot be decoded (*BadImage) are passed over and returned, without their bytes. Any other error of render or
// emit, or the end of ctx, ends the call at once. On return all samples taken from in are released.
func EvalBatches(ctx context.Context, in <-chan loader.Sample, render func() func(dst View, s *loader.Sample) error,
	size, batch, workers int, emit func(EvalBatch) error,
) ([]loader.DeadLetter, error) {
	opts, err := PoolOptions{Workers: workers, Batch: batch, Size: size}.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("render for evaluation: %w", err)
	}
	l := layout{views: 1, batch: opts.Batch, size: opts.Size}
	// One buffer to fill, one with emit, one whole between them.
	r := newRing(memory.NewGoAllocator(), opts.Buffers, l.bytes())
	a := &evalAssembler{layout: l, ring: r}
	o := &order[EvalBatch]{
		layout:    l,
		workers:   flow.NewGate(opts.Workers),
		most:      opts.Workers,
		newWorker: func() func(*job) { return evalWorker(render()) },
		assembler: a,
		ring:      r,
		counters:  newCounters(),
	}
	err = emitAll(ctx, o, in, emit)
	return a.dead, err
}

func emitAll(ctx context.Context, o *order[EvalBatch], in <-chan loader.Sample, emit func(EvalBatch) error) error {
	out := make(chan EvalBatch)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.run(ctx, in, out) })
	g.Go(func() error {
		for b := range out {
			err := emit(b)
			b.release()
			if err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

func evalWorker(render func(View, *loader.Sample) error) func(*job) {
	return func(j *job) {
		j.id, j.sha256 = j.sample.ID(), sha256.Sum256(j.sample.Image())
		judge(j, unlessProblem(j, func() error { return render(j.views[0], &j.sample) }), false)
	}
}

// evalAssembler makes evaluation batches.
type evalAssembler struct {
	layout layout
	ring   *ring
	next   EvalBatch // without its pixels
	dead   []loader.DeadLetter
}

var _ assembler[EvalBatch] = (*evalAssembler)(nil)

func (a *evalAssembler) good(j *job) error {
	label, labelled := j.sample.Label()
	if !labelled {
		label = -1
	}
	a.next.IDs = append(a.next.IDs, j.id)
	a.next.Keys = append(a.next.Keys, j.sample.Key())
	a.next.Labels = append(a.next.Labels, label)
	a.next.SHA256 = append(a.next.SHA256, j.sha256)
	return nil
}

func (a *evalAssembler) bad(j *job) error {
	a.dead = append(a.dead, *j.dead)
	return nil
}

func (a *evalAssembler) full(pixels []byte) EvalBatch {
	b, _ := a.rest(pixels, a.layout.batch)
	return b
}

func (a *evalAssembler) rest(pixels []byte, n int) (EvalBatch, bool) {
	b := a.next
	b.Pixels, b.Size = pixels[:n*a.layout.image()], a.layout.size
	b.release = func() { a.ring.put(pixels) }
	a.next = EvalBatch{}
	return b, true
}

func (a *evalAssembler) drop(b EvalBatch) { b.release() }
