package augment

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"mocostream/ingest"
	"mocostream/internal/flow"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// PoolOptions say how a pool makes batches.
type PoolOptions struct {
	Workers int // that decode and render at a time; 0: one a processor
	// MaxWorkers bounds SetWorkers; 0: Workers.
	MaxWorkers int
	Batch      int // images a batch
	Size       int // height and width of a view in pixels
	// Buffers is how many batches there may be at once, from the first pixel rendered to Batch.Release; 0: 3 (one being
	// filled, one waiting, one with the trainer). Pixels take Buffers x Batch x 2 x Size x Size x 3 bytes.
	Buffers int
	Seed    uint64
	// Bad stops the run when too many samples cannot be decoded.
	Bad loader.BadRule
	// Start is the token to go on from: that of the last finished batch, or the zero value. It does not move the input,
	// which has to start there too.
	Start loader.Token
	// Refused says why a sample may not be decoded, "" if it may; nil: all may. Workers call it concurrently.
	Refused        func(ingest.ID) string
	KeepDeadImages bool             // dead letters hold the encoded bytes
	Allocator      memory.Allocator // of pixels and columns; nil: Go's heap
}

func (o PoolOptions) withDefaults() (PoolOptions, error) {
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	o.MaxWorkers = max(o.MaxWorkers, o.Workers)
	if o.Buffers == 0 {
		o.Buffers = 3
	}
	if o.Allocator == nil {
		o.Allocator = memory.NewGoAllocator()
	}
	for _, v := range []struct {
		name  string
		value int
	}{{"workers", o.Workers}, {"batch", o.Batch}, {"size", o.Size}, {"buffers", o.Buffers}} {
		if v.value < 1 {
			return o, fmt.Errorf("make augmentation pool: %s is %d; it must be at least 1", v.name, v.value)
		}
	}
	return o, nil
}

// Pool turns samples into batches of two views, with the random numbers of each sample alone (Key): the batches depend on
// the order of the samples and the seed, not on the number of workers, their timing or where a run was resumed.
type Pool struct {
	recipe   Recipe
	opts     PoolOptions
	counters *counters
	workers  *flow.Gate

	mu   sync.Mutex
	dead []loader.DeadLetter
}

// NewPool makes a pool. The recipe serves as a model for the workers, who each take a Clone.
func NewPool(recipe Recipe, opts PoolOptions) (*Pool, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Pool{recipe: recipe, opts: opts, counters: newCounters(), workers: flow.NewGate(opts.Workers)}, nil
}

// SetWorkers changes how many samples are rendered at a time, 1 to MaxWorkers, at any time, also while Run works. It
// changes nothing about the batches.
func (p *Pool) SetWorkers(n int) { p.workers.Set(min(n, p.opts.MaxWorkers)) }

// Run renders what comes from in and sends batches to out, blocking while Buffers of them are in use. It is called once.
//
// The recipe writes right into a batch's buffer; a sample is released as soon as its views are there and those of the
// samples before it, for tokens count in order: 2 x MaxWorkers + 3 are held at most. A sample for which
// the recipe returns a *BadImage is passed over, what follows moves up, and its dead letter comes with the next batch. Too
// many of them (the error of BadRule), any other error of the recipe, or its panic, end the run after the batches before.
// Batches run on across the end of an epoch. When in is closed, the samples that fill no whole batch are dropped; no token
// ever counted them, so a run that goes on from the last batch gets them again.
//
// When Run returns, all goroutines have ended, out is closed, and whatever it held is released, as are the samples that lie
// in the channel in. Batches in the channel out, or taken from it, are the receiver's to release. It returns ctx.Err() when
// cancelled, also if the loader noticed first and closed in.
func (p *Pool) Run(ctx context.Context, in <-chan loader.Sample, out chan<- Batch) error {
	l := layout{views: 2, batch: p.opts.Batch, size: p.opts.Size}
	r := newRing(p.opts.Allocator, p.opts.Buffers, l.bytes())
	a := newBatchAssembler(p.opts, l, r)
	o := &order[Batch]{
		layout:    l,
		workers:   p.workers,
		most:      p.opts.MaxWorkers,
		newWorker: p.newWorker,
		assembler: a,
		ring:      r,
		counters:  p.counters,
	}
	err := o.run(ctx, in, out)
	p.keepDead(a.release())
	return err
}

// Stats may be called at any time by anyone.
func (p *Pool) Stats() Stats { return p.counters.stats(p.workers.Limit(), p.opts.Buffers) }

// Undelivered returns, once Run has returned, the dead letters that were found behind the last batch: those that made
// it stop, above all. A run that goes on from the last batch finds them again.
func (p *Pool) Undelivered() []loader.DeadLetter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.dead)
}

func (p *Pool) keepDead(dead []loader.DeadLetter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = dead
}

func (p *Pool) newWorker() func(*job) {
	recipe := p.recipe.Clone()
	generators := NewGenerators(2)
	draw := generators.Rand
	return func(j *job) {
		j.id = j.sample.ID()
		generators.Reset(NewKey(p.opts.Seed, j.sample.Epoch, j.id).Draw(j.sample.Draw))
		err := unlessRefused(j, p.opts.Refused, func() (err error) {
			j.hash, err = recipe.Views(j.views, j.sample.Image(), draw)
			return err
		})
		judge(j, err, p.opts.KeepDeadImages)
	}
}
