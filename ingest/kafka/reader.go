package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"golang.org/x/sync/errgroup"
)

const (
	// openTogether is how many partitions find their start at a time.
	openTogether = 16
	// leastFetch is what is asked of each of very many partitions, in bytes.
	leastFetch = 64 << 10
)

// reader reads the assigned partitions: a loop for each, one that looks for new ones, and Next, which merges.
type reader struct {
	source    *Source
	o         Options
	client    *client
	done      ingest.Progress // at Open; not changed
	fresh     bool            // nothing of this cluster was read before
	opening   atomic.Bool
	memory    *budget // of answers and what is made of them
	slots     *budget // of decompressors
	slotBytes int64   // for one
	// expandBytes is what a decoder may make of a group of messages, and of the last one of it.
	expandBytes int64
	pool        *pool

	cancel context.CancelFunc // ends the loops
	loops  sync.WaitGroup
	chunks chan *chunk
	failed chan struct{} // closed when err is set
	err    error
	fail   sync.Once
	closed chan struct{}
	close  sync.Once
	looks  chan struct{} // asks for metadata now; holds one

	mu         sync.Mutex
	view       *cluster
	partitions map[bookKey]*partition // open ones
	current    map[string]string      // source by topic

	passed []ingest.Span // of the chunk that Next returned last; Next's
	merge  *merge        // nil: arrival

	mergeTimeouts atomic.Int64
}

func openReader(ctx context.Context, s *Source, done ingest.Progress) (*reader, error) {
	transport, err := s.o.Transport()
	if err != nil {
		return nil, err
	}
	transport.MetadataTopics = []string{} // kafka-go needs to know the brokers only
	if transport.MetadataTTL == 0 {
		transport.MetadataTTL = max(s.o.MetadataEvery, time.Second) // brokers that join
	}
	slotBytes := int64(windowFor(s.o.MaxBytes) + 2*s.o.MaxBytes + chunkBytes)
	slots := max(s.o.MemoryLimit/2, slotBytes)
	r := &reader{
		source: s, o: s.o, done: done,
		client: newClient(transport, s.o.Brokers, s.o.Timeout),
		memory: newBudget(s.o.MemoryLimit - slots), slots: newBudget(slots), slotBytes: slotBytes,
		expandBytes: int64(8<<20 + s.o.MaxBytes),
		chunks:      make(chan *chunk), failed: make(chan struct{}), closed: make(chan struct{}), looks: make(chan struct{}, 1),
		partitions: map[bookKey]*partition{}, current: map[string]string{},
	}
	r.pool = newPool(func() int64 { return r.memory.limit - r.memory.inUse() })
	if r.o.Mem == nil {
		r.o.Mem = r.pool
	}
	if s.o.Merge == MergeDeterministic {
		r.merge = newMerge(r)
	}
	var running context.Context
	running, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.opening.Store(true)
	if err := r.open(ctx); err != nil {
		r.cancel()
		r.client.close()
		return nil, err
	}
	r.opening.Store(false)
	r.start(running)
	return r, nil
}

// open learns of the cluster and finds where each partition is to be read on.
func (r *reader) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.OpenTimeout, fmt.Errorf("not done within %v", r.o.OpenTimeout))
	defer cancel()
	if err := r.reach(ctx); err != nil {
		return err
	}
	r.fresh = r.firstTime()
	found, err := r.assign(r.view)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(openTogether)
	for _, p := range found {
		group.Go(func() error { return p.begin(ctx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, p := range found {
		r.add(p)
	}
	r.fresh = false // partitions that appear later begin at their first record
	if len(found) == 0 {
		r.o.Warn("kafka: no partition is this run's yet; waiting for topics and partitions to appear")
	}
	return nil
}

// firstTime says whether nothing of this cluster was read before, so that Options.Start holds.
func (r *reader) firstTime() bool {
	if len(r.source.book.sources()) > 0 {
		return false
	}
	for source := range r.done.Streams {
		if id, _, _, ok := splitSource(source); ok && id == r.view.id {
			return false
		}
	}
	return true
}

// add makes a partition known that has begun.
func (r *reader) add(p *partition) {
	r.source.book.begin(p.key, p.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partitions[p.key] = p
	r.current[p.topic] = p.source
	if r.merge != nil {
		p.turn = make(chan struct{}, 1)
	}
}

// start runs the loops.
func (r *reader) start(ctx context.Context) {
	for _, p := range r.partitions {
		r.run(ctx, p)
	}
	r.loops.Go(func() { r.ends(r.watch(ctx)) })
}

// run starts the loop of one partition, which p.stop ends.
func (r *reader) run(ctx context.Context, p *partition) {
	ctx, p.stop = context.WithCancel(ctx)
	r.loops.Go(func() {
		err := p.run(ctx)
		if ctx.Err() == nil {
			r.ends(err)
		}
	})
}

// ends ends the reader with an error, the first of all loops.
func (r *reader) ends(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	r.fail.Do(func() {
		r.err = fmt.Errorf("read kafka: %w", err)
		close(r.failed)
	})
}

// send hands a chunk to Next. The chunk stays the caller's when that fails.
func (r *reader) send(ctx context.Context, c *chunk) error {
	if turn := c.partition.turn; turn != nil {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case r.chunks <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Next implements ingest.Reader.
func (r *reader) Next(ctx context.Context) (arrow.Record, error) {
	select { // these go before records that are ready
	case <-r.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
	}
	if r.merge != nil {
		return r.merge.next(ctx)
	}
	c, err := r.receive(ctx, nil)
	if err != nil {
		return nil, err
	}
	r.pass(c.passed)
	c.partition.stats.handedOut(c.next)
	c.release()
	return c.record, nil
}

// errLate says that a time has passed without a chunk.
var errLate = errors.New("no chunk in time")

// receive waits for a chunk; errLate when late fires first.
func (r *reader) receive(ctx context.Context, late <-chan time.Time) (*chunk, error) {
	select {
	case c := <-r.chunks: // chunks that are ready go before an error
		return c, nil
	default:
	}
	select {
	case c := <-r.chunks:
		return c, nil
	case <-late:
		return nil, errLate
	case <-r.failed:
		return nil, r.err
	case <-r.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *reader) pass(spans []ingest.Span) {
	for _, span := range spans {
		r.passed = ingest.AppendSpan(r.passed, span)
	}
}

// Passed implements ingest.StreamReader.
func (r *reader) Passed() []ingest.Span {
	passed := r.passed
	r.passed = nil
	return passed
}

// Close implements ingest.Reader. It returns when the loops have ended.
func (r *reader) Close() error {
	r.close.Do(func() {
		close(r.closed)
		r.cancel()
		r.loops.Wait()
		r.client.close() // a request after it would open connections again
		if r.merge != nil {
			r.merge.close()
		}
		r.pool.close()
	})
	return nil
}

// fetchBytes is how much to ask of a partition at a time, so that all together fit in half of the memory.
func (r *reader) fetchBytes() int {
	r.mu.Lock()
	n := len(r.partitions)
	r.mu.Unlock()
	share := r.memory.limit / 4 / int64(max(1, n))
	return int(min(int64(r.o.FetchBytes), max(leastFetch, share)))
}

// stats reads where all partitions stand.
func (r *reader) stats() Stats {
	r.mu.Lock()
	all := make([]*partition, 0, len(r.partitions))
	for _, p := range r.partitions {
		all = append(all, p)
	}
	r.mu.Unlock()
	s := Stats{MergeTimeouts: r.mergeTimeouts.Load(), HeldBytes: r.memory.inUse() + r.slots.inUse()}
	now := time.Now()
	for _, p := range all {
		s.Partitions = append(s.Partitions, p.stats.read(now))
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStats) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Partition, b.Partition))
	})
	return s
}
