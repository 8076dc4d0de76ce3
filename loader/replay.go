package loader

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// ReplayOptions say what a replay buffer keeps and how it is drawn from.
type ReplayOptions struct {
	Policy string // which sample leaves a full buffer: ReplayFIFO, ...
	Size   int    // samples
	Bytes  int64  // of encoded images besides; 0: no limit
	Window uint64 // of ReplayReservoir, samples; 0: the whole stream

	Rate  float64 // draws a sample of the source, at least 0.01
	Fill  int     // samples before the first draw; at most Size counts
	Fresh float64 // share of draws that go to samples that no draw took yet, the oldest first, 0..1

	Batch    int // images a step
	PerGroup int // most samples of one source (Sample.Group) in a batch; 0: any number
	// Delay is the number of steps after which what a step said takes effect. It must be more than what a batch needs to
	// come about: see Bad.
	Delay int
	// Bad is the rule that ends a run with too many bad samples: what it lets pass has to fit into Delay.
	Bad BadRule

	Dir         string // for the images; made, and emptied of what is in it
	SegmentSize int64  // bytes at which a file of images is full; 0 is 64 MiB
	Memory      int64  // most bytes of images that are held in memory too; what is not is read from Dir for each draw

	Seed      uint64
	Start     Token // the token to go on from, as of the source
	Allocator memory.Allocator
}

// Validate names the first option that is out of range, with the remedy.
func (o ReplayOptions) Validate() error {
	switch {
	case o.Size < 1 || o.Batch < 1 || o.Delay < 1:
		return fmt.Errorf("make replay buffer: size %d, batch %d and delay %d must be at least 1", o.Size, o.Batch, o.Delay)
	case o.Bytes < 0 || o.Fill < 0 || o.PerGroup < 0:
		return fmt.Errorf("make replay buffer: bytes %d, fill %d and samples of a source in a batch %d must not be negative", o.Bytes, o.Fill, o.PerGroup)
	case !(o.Rate >= 0.01) || math.IsInf(o.Rate, 0) || !(o.Fresh >= 0 && o.Fresh <= 1):
		return fmt.Errorf("make replay buffer: %g draws a sample and a share of %g fresh ones; use at least 0.01, and 0..1", o.Rate, o.Fresh)
	}
	return o.checkDelay()
}

// checkDelay makes sure that there is always a batch to step on within the draws that may be open: else the draws would
// wait for a step, and that step for draws.
func (o ReplayOptions) checkDelay() error {
	open := o.Delay * o.Batch
	bad := open
	if w := o.Bad.Window; w > 0 {
		bad = min(int(o.Bad.MaxFraction*float64(w))*(open/w+1), open) // more than that end the run
		if o.Bad.MaxFraction == 0 {
			bad = 0
		}
	}
	if open-bad < o.Batch {
		return fmt.Errorf("make replay buffer: of the %d draws of %d steps %d may be bad without ending the run, which leaves no batch of %d; "+
			"raise loader.replay.delay or lower loader.max_bad_fraction", open, o.Delay, bad, o.Batch)
	}
	return nil
}

// AutoDelay is a delay that leaves the trainer and the pool as much ahead of them as they use, with any number of bad
// samples that the rule lets pass; at least 8 steps, 0 for a rule that lets all pass.
func AutoDelay(batch int, bad BadRule) int {
	o := ReplayOptions{Batch: batch, Bad: bad}
	for o.Delay = 8; o.Delay < 1<<16; o.Delay++ {
		if o.checkDelay() == nil {
			return o.Delay
		}
	}
	return 0
}

// Replay is a stage between a loader and the augmentation pool. It takes every sample of the loader once, keeps some, and
// gives out draws from those it keeps: Rate of them for every sample that it took.
//
// Everything that happens is numbered by draws and is a function of seed, samples and outcomes. Draws come in blocks of
// Batch. Before the first of block n the outcomes (Settle) of all draws of the blocks before n - Delay take effect, and none
// later; if one is not there yet the draw waits for it. Then the samples are taken that the block's draws ask for. So
// timing changes nothing, and a run that goes on from a checkpoint draws what an uninterrupted one would. (A batch is a
// block only as long as no sample is bad.)
type Replay struct {
	opts    ReplayOptions
	wake    chan struct{}
	sources map[string]string

	inbox sync.Mutex // guards told: Settle must not wait for a choice of the policy
	told  []outcomes

	mu       sync.Mutex // guards what follows
	buffer   *buffer
	draws    drawLog
	base     mark   // at the start
	began    uint64 // applied at the start
	chooser  chooser
	applied  uint64 // draws before it have had their effect
	settled  uint64 // draws before it have an outcome
	finished bool   // the source has ended
}

// DefaultSegmentSize is used when ReplayOptions.SegmentSize is 0.
const DefaultSegmentSize = 64 << 20

// NewReplay makes an empty buffer. It is closed after Run.
func NewReplay(o ReplayOptions) (*Replay, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p, err := newPolicy(o)
	if err != nil {
		return nil, err
	}
	if o.Allocator == nil {
		o.Allocator = memory.DefaultAllocator
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	images, err := openSegments(o.Dir, o.SegmentSize)
	if err != nil {
		return nil, err
	}
	r := &Replay{opts: o, wake: make(chan struct{}, 1), sources: map[string]string{}}
	r.buffer = &buffer{size: o.Size, limit: o.Bytes, policy: p, images: images, memory: o.Memory, order: queue{live: here}, unseen: queue{live: hereUnseen}}
	r.chooser = chooser{perGroup: o.PerGroup, fresh: o.Fresh, recent: newRecent()}
	r.began = o.Start.Position
	r.draws.first, r.applied, r.settled = o.Start.Position, o.Start.Position, o.Start.Position
	r.buffer.counts.Admitted = o.Start.Taken()
	r.base = r.buffer.mark()
	return r, nil
}

// Run takes samples from in and sends draws to out, which it closes when it returns: nil when the source has ended and all
// its samples had their draws, else the context's error. ended is closed once the loader has returned nil: that in is closed
// does not tell an end from a failure. Samples that lie in the channel in when Run returns are released.
func (r *Replay) Run(ctx context.Context, in <-chan Sample, ended <-chan struct{}, out chan<- Sample) error {
	defer close(out)
	defer releaseAll(in)
	rows := ingest.NewBuilder(r.opts.Allocator)
	defer rows.Release()
	var taken []admission // since the draw before
	for {
		if r.begins() {
			more, err := r.begin(ctx, in, ended)
			if err != nil {
				return err
			}
			taken = append(taken, more...)
		}
		s, err := r.draw(rows)
		if errors.Is(err, errEnded) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		s.admitted = taken
		taken = nil
		if err := send(ctx, out, s); err != nil {
			s.Release()
			return err
		}
	}
}

// next is the number of the draw that comes next. r.mu is held, as in all that follows unless it says otherwise.
func (r *Replay) next() uint64 { return r.draws.end() }

// block is the number of the block that the draw is of.
func (r *Replay) block(draw uint64) uint64 { return draw / uint64(r.opts.Batch) }

// begins says whether the next draw is the first of a block, or of a run that was given a buffer late. It takes r.mu.
func (r *Replay) begins() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next()%uint64(r.opts.Batch) == 0 || len(r.buffer.slots) == 0
}

// begin does what comes before a block's draws, and returns what it took of the source. It takes r.mu.
func (r *Replay) begin(ctx context.Context, in <-chan Sample, ended <-chan struct{}) (taken []admission, err error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	r.apply()
	for r.wants() {
		a, err := r.take(ctx, in, ended)
		if errors.Is(err, errEnded) {
			break
		}
		if err != nil {
			return nil, err
		}
		taken = append(taken, a)
	}
	return taken, nil
}

// due is the first draw whose outcome does not take effect before the block of draw p.
func (r *Replay) due(p uint64) uint64 {
	n := r.block(p)
	return (n - min(n, uint64(r.opts.Delay))) * uint64(r.opts.Batch)
}

// await blocks until every outcome that must have taken effect before the next draw is there. It takes r.mu.
func (r *Replay) await(ctx context.Context) error {
	for {
		r.mu.Lock()
		err := r.hear()
		there := r.settled >= r.due(r.next())
		r.mu.Unlock()
		if there || err != nil {
			return errors.Join(err, ctx.Err())
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply lets the outcomes that are due take effect. It takes r.mu.
func (r *Replay) apply() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.next()
	for due := r.due(now); r.applied < due; r.applied++ {
		d := r.draws.at(r.applied)
		k := d.sample
		switch {
		case k == nil || k.slot < 0:
		case d.bad:
			r.buffer.evict(k, now)
			r.buffer.counts.Bad++
		case d.feature != nil:
			r.buffer.describe(k, blend(k.feature, d.feature), now)
		}
		d.sample = nil // its feature may be of a checkpoint yet
	}
}

// wants says whether another sample of the source has to be in before the next draw. It takes r.mu.
func (r *Replay) wants() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := (r.block(r.next())+1)*uint64(r.opts.Batch) - 1
	due := float64(min(r.opts.Fill, r.opts.Size)) + math.Floor(float64(last)/r.opts.Rate)
	return !r.finished && (len(r.buffer.slots) == 0 || float64(r.buffer.counts.Admitted) < due)
}

var errEnded = errors.New("the source has ended")

// receive waits for the next sample of the source, or errEnded.
func receive(ctx context.Context, in <-chan Sample, ended <-chan struct{}) (Sample, error) {
	select {
	case s, ok := <-in:
		if ok {
			return s, nil
		}
	case <-ctx.Done():
		return Sample{}, ctx.Err()
	}
	select {
	case <-ended:
		return Sample{}, errEnded
	case <-ctx.Done():
		return Sample{}, ctx.Err()
	}
}

// releaseAll releases what lies in a channel: its sender cannot take that back.
func releaseAll(in <-chan Sample) {
	for n := len(in); n > 0; n-- {
		if s, ok := <-in; ok {
			s.Release()
		}
	}
}

// take admits the next sample of the source. It takes r.mu.
func (r *Replay) take(ctx context.Context, in <-chan Sample, ended <-chan struct{}) (admission, error) {
	s, err := receive(ctx, in, ended)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished = errors.Is(err, errEnded)
	if err != nil {
		return admission{}, err
	}
	defer s.Release()
	a := s.admission(true)
	if s.Problem() == ingest.Deleted {
		r.buffer.purge(s.Key(), r.next())
		return a, nil
	}
	number := r.buffer.counts.Admitted
	return a, r.buffer.admit(newKept(&s, number, r.sources), r.rng("admit", number), r.next())
}

// rng is the generator of one admission or draw.
func (r *Replay) rng(what string, number uint64) *rand.Rand {
	var tag uint64
	for _, c := range []byte(what) {
		tag = tag<<8 | uint64(c)
	}
	return rand.New(rand.NewPCG(r.opts.Seed^tag, number))
}

// draw makes the next draw; errEnded: the source has ended, and its samples had their draws. It takes r.mu.
func (r *Replay) draw(rows *ingest.Builder) (Sample, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, b := r.next(), r.buffer
	if len(b.slots) == 0 || r.finished && float64(p) >= math.Floor(float64(b.counts.Admitted)*r.opts.Rate) {
		return Sample{}, errEnded
	}
	k := r.chooser.choose(b, p, r.rng("draw", p))
	if err := b.render(rows, k); err != nil {
		return Sample{}, err
	}
	s := Sample{Record: rows.Record(), Position: p, Group: k.group, Visit: k.visits, Draw: p + 1, replayed: true}
	s.release = s.Record.Release
	b.visit(k, p)
	r.draws.all = append(r.draws.all, drawn{sample: k, number: k.number, group: k.group, after: b.mark()})
	r.chooser.recent.add(r.draws.at(p), 1)
	if share := uint64(r.opts.Batch - 1); p >= r.draws.first+share {
		r.chooser.recent.add(r.draws.at(p-share), -1)
	}
	return s, nil
}

// Close closes what NewReplay opened. The images stay in Dir until the next buffer is made there.
func (r *Replay) Close() error { return r.buffer.images.close() }
