package loader

import (
	"context"

	"mocostream/ingest"
	"mocostream/internal/flow"

	"github.com/apache/arrow/go/v17/arrow"
	"golang.org/x/sync/errgroup"
)

// fetcher reads admitted entries and puts them on the shelf. It is used by one goroutine and starts its own in the
// group.
type fetcher interface {
	fetch(ctx context.Context, e *entry) error
	// end says that no sample of the block comes any more.
	end()
}

// pool reads single files, each by itself.
type pool struct {
	group   *errgroup.Group
	shelf   *shelf
	gate    *flow.Gate
	work    chan *entry
	readers int
}

func newPool(group *errgroup.Group, s *shelf, fetchers *flow.Gate) *pool {
	return &pool{group: group, shelf: s, gate: fetchers, work: make(chan *entry, aheadPerFetcher)}
}

func (p *pool) fetch(ctx context.Context, e *entry) error {
	for p.readers < p.gate.Limit() {
		p.readers++
		p.group.Go(func() error { return p.read(ctx) })
	}
	return send(ctx, p.work, e)
}

// read is one reader. Those beyond a limit that was lowered wait at the gate, each with a sample.
func (p *pool) read(ctx context.Context) error {
	for e := range p.work {
		rec, err := through(ctx, p.gate, func() (arrow.Record, error) { return p.shelf.origin.one(ctx, e.slot) })
		p.shelf.put(e, rec, err)
	}
	return nil
}

// through reads once there is a place, which a cancelled run never gives.
func through(ctx context.Context, gate *flow.Gate, read func() (arrow.Record, error)) (arrow.Record, error) {
	if !gate.Enter() {
		return nil, ctx.Err()
	}
	defer gate.Leave()
	return read()
}

func (p *pool) end() {}

// close lets the workers end, after what is under way.
func (p *pool) close() { close(p.work) }

// shardQueue is how many samples of one shard wait for its goroutine before admission does.
const shardQueue = 32

// shards reads shards, each through once by a goroutine of its own.
type shards struct {
	group *errgroup.Group
	shelf *shelf
	gate  *flow.Gate
	open  map[int32]chan *entry
}

func newShards(group *errgroup.Group, s *shelf, fetchers *flow.Gate) *shards {
	return &shards{group: group, shelf: s, gate: fetchers, open: map[int32]chan *entry{}}
}

func (r *shards) fetch(ctx context.Context, e *entry) error {
	queue := r.open[e.partition]
	if queue == nil {
		queue = make(chan *entry, shardQueue)
		r.open[e.partition] = queue
		r.group.Go(func() error { return r.run(ctx, e.partition, queue) })
	}
	return send(ctx, queue, e)
}

func (r *shards) end() {
	for _, queue := range r.open {
		close(queue)
	}
	clear(r.open)
}

// run reads one shard of one block. After an error the samples that follow fail with it too, and the first of them in
// the training order is the one that ends the run.
func (r *shards) run(ctx context.Context, partition int32, queue <-chan *entry) (err error) {
	c := r.shelf.origin.cursor(partition)
	defer func() { err = c.close(nil) }()
	var failed error
	for e := range queue {
		if failed != nil {
			r.shelf.put(e, nil, failed)
		} else if failed = r.read(ctx, c, e); failed != nil {
			_ = c.close(failed) // at once, not at the block's end
		}
	}
	return nil
}

func (r *shards) read(ctx context.Context, c *cursor, e *entry) error {
	rec, err := through(ctx, r.gate, func() (arrow.Record, error) { return c.sample(ctx, e.offset) })
	r.shelf.put(e, rec, err)
	return err
}

func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reading is the order in which samples are read: the training order without its shuffle buffer.
type reading struct {
	walk  walk
	seq   sequence
	read  int64          // place of the next
	first int64          // places before it were read by the run that is resumed
	wants map[int64]bool // of those, which are not handed out
}

// newReading begins where o does, but first with what o's shuffle buffer holds.
func newReading(p *plan, o *order) (*reading, error) {
	r := &reading{walk: walk{plan: p, epochs: o.walk.epochs}, first: o.mixer.reads, wants: map[int64]bool{}}
	for _, n := range o.mixer.held {
		r.wants[n.read] = true
	}
	seq, err := r.walk.start(o.walk.epoch, o.walk.block)
	if err != nil {
		return nil, err
	}
	if r.seq = seq; len(r.wants) == 0 {
		r.seq.skip(r.first)
		r.read = r.first
	}
	return r, nil
}

// block yields what is to be read of the block at hand; false when that is all.
func (r *reading) block() (numbered, bool) {
	for {
		s, ok := r.seq.next()
		if !ok {
			return numbered{}, false
		}
		r.read++
		if n := (numbered{s, r.read - 1}); n.read >= r.first || r.wants[n.read] {
			return n, true
		}
	}
}

// next goes to the next block, io.EOF when all epochs are done.
func (r *reading) next() (err error) {
	r.wants = nil
	r.seq, err = r.walk.next()
	return err
}

// reserve returns the bytes that reading s takes where that is known before, else 0.
func (p *plan) reserve(s slot, maxBytes int64) (int64, error) {
	if !p.single {
		return 0, nil
	}
	entry, err := p.manifest.Partition(s.partition)
	return capped(entry.Size, maxBytes), err
}

// capped is the size of an image once the source has cut it off.
func capped(size, maxBytes int64) int64 {
	if maxBytes > 0 {
		return min(size, maxBytes+1)
	}
	return size
}

// guess returns what samples of a source of shards may need before any is seen: twice the mean of the first.
func guess(m *ingest.Manifest, maxBytes int64) (int64, error) {
	for i := range m.Len() {
		p, err := m.Partition(i)
		if err != nil || p.Count > 0 {
			return capped(2*(p.Size/max(1, p.Count)), maxBytes), err
		}
	}
	return 0, nil
}
