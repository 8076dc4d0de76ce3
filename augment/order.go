package augment

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"mocostream/ingest"
	"mocostream/internal/flow"
	"mocostream/loader"
)

// job is a sample on its way through the workers. It is released once the assembler has it: what a token counts must
// still be alive then.
type job struct {
	sample loader.Sample
	buffer []byte // of the batch it is rendered into
	row    int    // in that batch
	views  []View // of that row

	id     ingest.ID // set by the worker, as everything below
	hash   uint64
	sha256 [32]byte
	dead   *loader.DeadLetter // the sample is bad
	err    error              // the run has to stop
	done   bool
}

// assembler takes the samples of an order, one after the other, and makes batches of type T.
type assembler[T any] interface {
	// good adds a sample to the batch, bad passes one over. An error stops the run after the batches before it.
	good(*job) error
	bad(*job) error
	// full takes over the pixels of a whole batch; rest does so for the last n < batch samples, or declines.
	full(pixels []byte) T
	rest(pixels []byte, n int) (T, bool)
	// drop releases a batch that nobody takes.
	drop(T)
}

// order renders samples concurrently, each right into its place of a batch, and gives them to an assembler in the order
// in which they came. Places are given out on the assumption that every sample is good. What comes after a bad one is
// moved down as it is collected, until there is nothing in flight for a moment and places are given out anew. To wait
// for that moment would cost more than the copies. The batches are the same whatever the number of workers and their luck.
//
// One goroutine, run's, owns every field; only counters and channels are shared with the workers.
type order[T any] struct {
	layout    layout
	workers   *flow.Gate        // as many as may work at a time
	most      int               // goroutines for it
	newWorker func() func(*job) // makes what one worker calls for each sample
	assembler assembler[T]
	ring      *ring
	counters  *counters

	jobs, results chan *job
	stop          atomic.Bool // workers pass on what they get

	parked   *loader.Sample // the next to go, until there is a place for it
	pending  []*job         // in flight, in order
	idle     []*job         // to use again
	arrived  int            // of pending, those that are done
	buffers  [][]byte       // of the batches being filled, the oldest first
	assigned int            // places given out, counted from the first of buffers[0]
	taken    int            // samples collected, counted likewise
	ended    bool           // the input is, or the run failed
	failure  error
	ready    []T
}

// inFlight is how many samples are rendered or wait for it: enough to keep workers busy over the time of a collection.
func (o *order[T]) inFlight() int { return 2*o.workers.Limit() + 2 }

// maxInFlight is what inFlight never exceeds.
func (o *order[T]) maxInFlight() int { return 2*o.most + 2 }

// run works until in is closed, ctx is cancelled or a sample fails. When it returns every goroutine has ended, every sample
// and batch it held is released, and out is closed. It alone receives from in.
func (o *order[T]) run(ctx context.Context, in <-chan loader.Sample, out chan<- T) error {
	defer close(out)
	o.counters.running.Begin()
	defer o.counters.running.End()
	o.jobs = make(chan *job, o.maxInFlight())
	o.results = make(chan *job, o.maxInFlight())
	var wg sync.WaitGroup
	for range o.most {
		render := o.newWorker()
		wg.Go(func() { o.work(render) })
	}
	err := o.loop(ctx, in, out)
	o.stop.Store(true)
	close(o.jobs)
	wg.Wait()
	o.release(in)
	o.counters.wait(waitNone)
	o.counters.deliver(0)
	return err
}

// release gives back what is left, and what lies in the input's channel: its sender cannot take that back.
func (o *order[T]) release(in <-chan loader.Sample) {
	if o.parked != nil {
		o.parked.Release()
	}
	for _, j := range o.pending {
		j.sample.Release()
	}
	for n := len(in); n > 0; n-- {
		if s, ok := <-in; ok {
			s.Release()
		}
	}
	for _, b := range o.ready {
		o.assembler.drop(b)
	}
	for _, b := range o.buffers {
		o.ring.put(b)
	}
	o.ring.close()
}

// work never blocks on results: there is room for every job.
func (o *order[T]) work(render func(*job)) {
	for j := range o.jobs {
		if o.workers.Enter() {
			o.render(render, j)
			o.workers.Leave()
		}
		o.results <- j
	}
}

func (o *order[T]) render(render func(*job), j *job) {
	if o.stop.Load() {
		return
	}
	o.counters.busy.Begin()
	defer o.counters.busy.End()
	safely(render, j)
}

// safely turns a panic into an error: a decoder's mistake must end with a name, not with the process.
func safely(render func(*job), j *job) {
	defer func() {
		if p := recover(); p != nil {
			j.err = fmt.Errorf("render sample %d, %q: panic: %v\n%s", j.sample.Position, j.sample.Key(), p, debug.Stack())
		}
	}()
	render(j)
}

func (o *order[T]) loop(ctx context.Context, in <-chan loader.Sample, out chan<- T) error {
	for {
		o.collect()
		if o.ended && len(o.pending) == 0 && o.parked == nil {
			// A cancelled loader closes its channel, too: that is no end of the data.
			if err := ctx.Err(); err != nil && o.failure == nil {
				return err
			}
			o.finish()
			if len(o.ready) == 0 {
				return o.failure
			}
		}
		if err := o.next(ctx, in, out); err != nil {
			return err
		}
	}
}

// next waits for one thing to happen, of those that can be dealt with now.
func (o *order[T]) next(ctx context.Context, in <-chan loader.Sample, out chan<- T) error {
	if o.parked != nil && o.hasPlace() {
		o.dispatch(*o.parked)
		o.parked = nil
	}
	var (
		free <-chan []byte
		send chan<- T
		head T
	)
	switch {
	case o.ended || len(o.pending) >= o.inFlight():
		in = nil
	case o.parked != nil:
		in, free = nil, o.ring.free
	}
	if len(o.ready) > 0 {
		send, head = out, o.ready[0]
	}
	o.counters.wait(o.waitsFor(in != nil))
	o.counters.deliver(len(o.ready))
	o.counters.queued.Store(int64(len(o.jobs)))
	o.counters.waiting.Begin()
	defer o.counters.waiting.End()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case s, ok := <-in:
		o.ended = !ok
		if ok {
			o.parked = &s
		}
	case b := <-free:
		o.buffers = append(o.buffers, b)
	case j := <-o.results:
		j.done = true
		o.arrived++
	case send <- head:
		o.ready = slices.Delete(o.ready, 0, 1)
	}
	return nil
}

// waitsFor names what keeps a worker idle, if one is.
func (o *order[T]) waitsFor(accepting bool) waitKind {
	switch {
	case len(o.pending)-o.arrived >= o.workers.Limit():
		return waitNone
	case o.parked != nil:
		return waitOutput
	case accepting:
		return waitInput
	default:
		return waitNone
	}
}

// hasPlace says whether there is a buffer for the next sample.
func (o *order[T]) hasPlace() bool { return o.assigned < len(o.buffers)*o.layout.batch }

// dispatch gives a sample its place and hands it to the workers.
func (o *order[T]) dispatch(s loader.Sample) {
	j := o.job()
	j.sample = s
	j.buffer, j.row = o.place(o.assigned)
	for v := range j.views {
		j.views[v] = View{Pix: o.layout.view(j.buffer, v, j.row), Size: o.layout.size}
	}
	o.assigned++
	o.pending = append(o.pending, j)
	o.jobs <- j
}

func (o *order[T]) job() *job {
	n := len(o.idle)
	if n == 0 {
		return &job{views: make([]View, o.layout.views)}
	}
	j := o.idle[n-1]
	o.idle = o.idle[:n-1]
	return j
}

func (o *order[T]) place(i int) (buffer []byte, row int) {
	return o.buffers[i/o.layout.batch], i % o.layout.batch
}

// collect takes the samples that are done, up to the first that is not.
func (o *order[T]) collect() {
	n := 0
	for n < len(o.pending) && o.pending[n].done {
		if o.failure == nil {
			o.take(o.pending[n])
		}
		o.retire(o.pending[n])
		n++
	}
	o.pending = slices.Delete(o.pending, 0, n)
	o.arrived -= n
	if len(o.pending) == 0 {
		o.assigned = o.taken
	}
}

// retire releases the sample and keeps the job for another, without what it points to.
func (o *order[T]) retire(j *job) {
	j.sample.Release()
	*j = job{views: j.views}
	o.idle = append(o.idle, j)
}

func (o *order[T]) take(j *job) {
	switch {
	case j.err != nil:
		o.fail(j.err)
	case j.dead != nil:
		o.counters.bad(j.dead.Reason)
		if err := o.assembler.bad(j); err != nil {
			o.fail(err)
		}
	default:
		o.counters.images.Add(1)
		o.settle(j)
		if err := o.assembler.good(j); err != nil {
			o.fail(err)
			return
		}
		o.taken++
		o.fill()
	}
}

func (o *order[T]) fail(err error) {
	o.failure, o.ended = err, true
	o.stop.Store(true)
	if o.parked != nil {
		o.parked.Release()
		o.parked = nil
	}
}

// settle moves a sample's views down to where they belong, if a bad sample before it left a gap.
func (o *order[T]) settle(j *job) {
	buffer, row := o.place(o.taken)
	if &buffer[0] == &j.buffer[0] && row == j.row {
		return
	}
	for v := range j.views {
		copy(o.layout.view(buffer, v, row), j.views[v].Pix)
	}
}

// fill hands a whole batch on.
func (o *order[T]) fill() {
	if o.taken < o.layout.batch {
		return
	}
	o.ready = append(o.ready, o.assembler.full(o.buffers[0]))
	o.buffers = slices.Delete(o.buffers, 0, 1)
	o.taken -= o.layout.batch
	o.assigned -= o.layout.batch
}

// finish hands the last, shorter batch on.
func (o *order[T]) finish() {
	if o.failure != nil || o.taken == 0 {
		return
	}
	if b, ok := o.assembler.rest(o.buffers[0], o.taken); ok {
		o.ready = append(o.ready, b)
		o.buffers = slices.Delete(o.buffers, 0, 1)
	}
	o.taken, o.assigned = 0, 0
}
