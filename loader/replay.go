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
	base     ReplayCounts // at the start
	began    uint64       // applied at the start
	chooser  chooser
	applied  uint64 // draws before it have had their effect
	settled  uint64 // draws before it have an outcome
	finished bool   // the source has ended
}

// NewReplay makes an empty buffer.
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
	r := &Replay{opts: o, wake: make(chan struct{}, 1), sources: map[string]string{}}
	r.buffer = &buffer{size: o.Size, limit: o.Bytes, policy: p, order: queue{live: here}, unseen: queue{live: hereUnseen}}
	r.chooser = chooser{perGroup: o.PerGroup, fresh: o.Fresh, recent: newRecent()}
	r.began = o.Start.Position
	r.draws.first, r.applied, r.settled = o.Start.Position, o.Start.Position, o.Start.Position
	r.buffer.counts.Admitted = o.Start.Taken()
	r.base = r.buffer.counts
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
		s, ok := r.draw(rows)
		if !ok {
			return ctx.Err()
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
		r.hear()
		there := r.settled >= r.due(r.next())
		r.mu.Unlock()
		if there {
			return ctx.Err()
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
	number := r.buffer.counts.Admitted
	r.buffer.admit(newKept(&s, number, r.sources), r.rng("admit", number), r.next())
	return a, nil
}

// rng is the generator of one admission or draw.
func (r *Replay) rng(what string, number uint64) *rand.Rand {
	var tag uint64
	for _, c := range []byte(what) {
		tag = tag<<8 | uint64(c)
	}
	return rand.New(rand.NewPCG(r.opts.Seed^tag, number))
}

// draw makes the next draw; false: the source has ended, and its samples had their draws. It takes r.mu.
func (r *Replay) draw(rows *ingest.Builder) (Sample, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, b := r.next(), r.buffer
	if len(b.slots) == 0 || r.finished && float64(p) >= math.Floor(float64(b.counts.Admitted)*r.opts.Rate) {
		return Sample{}, false
	}
	k := r.chooser.choose(b, p, r.rng("draw", p))
	s := k.draw(rows, p)
	b.visit(k, p)
	r.draws.all = append(r.draws.all, drawn{sample: k, number: k.number, group: k.group, counts: b.counts})
	r.chooser.recent.add(r.draws.at(p), 1)
	if share := uint64(r.opts.Batch - 1); p >= r.draws.first+share {
		r.chooser.recent.add(r.draws.at(p-share), -1)
	}
	return s, true
}

// draw makes a sample of its own for a draw.
func (k *kept) draw(rows *ingest.Builder, p uint64) Sample {
	rows.Append(k.row, k.image)
	s := Sample{Record: rows.Record(), Position: p, Group: k.group, Visit: k.visits, Draw: p + 1, replayed: true}
	s.release = s.Record.Release
	return s
}

// Settle says what became of the draws before position: those of a finished step, whose positions are given in the
// batch's order, with its embeddings [len(positions), dim] row by row, or nil where there are none. Draws before position
// that no step took are bad. It is called after each step, in order; it does not block.
func (r *Replay) Settle(position uint64, positions []uint64, features []float32) {
	r.inbox.Lock()
	r.told = append(r.told, outcomes{position, positions, features})
	r.inbox.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// outcomes is what Settle was told.
type outcomes struct {
	position  uint64
	positions []uint64
	features  []float32
}

// hear takes note of what Settle was told.
func (r *Replay) hear() {
	r.inbox.Lock()
	told := r.told
	r.told = nil
	r.inbox.Unlock()
	for _, o := range told {
		r.settle(o)
	}
}

func (r *Replay) settle(o outcomes) {
	for p := r.settled; p < o.position; p++ {
		r.draws.at(p).bad = true
	}
	for i, p := range o.positions {
		d := r.draws.at(p)
		d.bad = false
		if n := len(o.features) / len(o.positions); n > 0 {
			d.feature = o.features[i*n : (i+1)*n : (i+1)*n]
		}
	}
	r.settled = max(r.settled, o.position)
	r.buffer.undo.settle(r.settled)
	r.draws.forget(r.needed(r.settled))
}

// needed is the first draw that a checkpoint of the draw at position holds: its outcome has not taken effect, or it may
// be in one batch with the next.
func (r *Replay) needed(position uint64) uint64 {
	return min(r.appliedBefore(position), position-min(position, uint64(r.opts.Batch)))
}

// appliedBefore is the first draw whose outcome had not taken effect before draw position was about to be made.
func (r *Replay) appliedBefore(position uint64) uint64 {
	if position == 0 {
		return 0
	}
	return max(r.began, r.due(position-1))
}

// blend averages a feature with the one of earlier visits, half and half, to length 1 (MinRed, arXiv 2203.12710).
func blend(before, now []float32) []float32 {
	sum := make([]float32, len(now))
	copy(sum, now)
	if len(before) == len(now) {
		for i := range sum {
			sum[i] = (before[i] + now[i]) / 2
		}
	}
	var square float64
	for _, x := range sum {
		square += float64(x) * float64(x)
	}
	if square > 0 {
		scale := float32(1 / math.Sqrt(square))
		for i := range sum {
			sum[i] *= scale
		}
	}
	return sum
}
