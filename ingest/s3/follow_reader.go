package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"mocostream/ingest"
	"mocostream/ingest/internal/shard"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"golang.org/x/sync/semaphore"
)

// aheadBytes is how many bytes of images are read ahead; one that is larger is read by itself.
const aheadBytes = 64 << 20

// job is an object whose turn comes.
type job struct {
	found
	bytes  int64         // reserved for it
	done   chan struct{} // closed when record and err are valid; nil for a shard, which is read in its turn
	record arrow.Record
	err    error
}

// followReader reads the objects of a Follow in the order of their ordinals.
type followReader struct {
	*Follow
	gate
	progress ingest.Progress // what is done already
	cancel   context.CancelFunc
	running  sync.WaitGroup
	ahead    *semaphore.Weighted
	jobs     chan *job
	failed   error // of plan, valid when jobs is closed

	busy    chan struct{} // holds a token while Next works, so that Close releases behind it
	head    *job          // received by a Next that was cancelled
	current *job          // a shard that is being read
	shard   *shardReader  // of current
	handed  bool          // samples of current were handed out
	err     error         // what every further Next returns
	ready   []arrow.Record
	passed  []ingest.Span
}

var _ ingest.StreamReader = (*followReader)(nil)

func newFollowReader(ctx context.Context, f *Follow, done ingest.Progress, first int64) *followReader {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &followReader{
		Follow: f, progress: done, cancel: cancel, ahead: semaphore.NewWeighted(max(aheadBytes, f.access.maxBytes+1)),
		jobs: make(chan *job, f.Fetchers), busy: make(chan struct{}, 1),
	}
	r.running.Add(1)
	go func() {
		defer r.running.Done()
		defer close(r.jobs)
		r.failed = r.plan(ctx, first)
	}()
	return r
}

// plan has images read ahead, in order, for as long as there is room.
func (r *followReader) plan(ctx context.Context, first int64) error {
	objects := &cursor{Follow: r.Follow, next: first}
	defer objects.close()
	places := make(chan struct{}, r.Fetchers)
	for {
		o, err := objects.take(ctx)
		if err != nil {
			return err
		}
		if r.doneOf(r.progress).Contains(o.ordinal) {
			continue
		}
		j := &job{found: o}
		if !shard.Is(o.Key) {
			if err := r.start(ctx, j, places); err != nil {
				return err
			}
		}
		select {
		case r.jobs <- j:
		case <-ctx.Done():
			r.drop(j)
			return ctx.Err()
		}
	}
}

// start begins to read an image.
func (r *followReader) start(ctx context.Context, j *job, places chan struct{}) error {
	j.bytes = min(j.Size, r.access.maxBytes+1)
	if err := r.ahead.Acquire(ctx, j.bytes); err != nil {
		return err
	}
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		r.ahead.Release(j.bytes)
		return ctx.Err()
	}
	j.done = make(chan struct{})
	r.running.Add(1)
	go func() {
		defer r.running.Done()
		defer close(j.done)
		j.record, j.err = r.image(ctx, j.Object, r.row(j.found))
		<-places
	}()
	return nil
}

// drop gives up a job that nobody will take.
func (r *followReader) drop(j *job) {
	if j.done == nil {
		return
	}
	<-j.done
	if j.record != nil {
		j.record.Release()
	}
	r.ahead.Release(j.bytes)
}

func (r *followReader) row(o found) ingest.Row {
	when := arrow.Timestamp(o.Modified.UnixMicro())
	return ingest.Row{ID: ingest.ID{Source: r.source, Offset: o.ordinal}, Key: o.Key, Time: &when}
}

// Next implements ingest.Reader.
func (r *followReader) Next(ctx context.Context) (arrow.Record, error) {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	inner, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	for r.err == nil {
		if len(r.ready) > 0 {
			record := r.ready[0]
			r.ready = r.ready[1:]
			return record, nil
		}
		if r.shard != nil {
			err = r.readShard(inner)
		} else {
			err = r.nextJob(inner)
		}
		if errors.Is(err, errPassed) {
			return problemRecord(r.mem, ingest.Row{}, 0, err), nil // no rows: the spans are to be taken
		}
		if err != nil && inner.Err() != nil {
			return nil, r.explain(ctx, err)
		}
		r.err = err
	}
	return nil, r.err
}

// errPassed has Next return, since something is in passed and nothing else at hand.
var errPassed = errors.New("passed")

// nextJob takes the next object. It leaves its record in ready or its shard open, or neither if it is gone.
func (r *followReader) nextJob(ctx context.Context) error {
	j, err := r.receive(ctx)
	if err != nil {
		return err
	}
	if j.done == nil {
		r.current, r.handed = j, false
		r.shard = r.openShard(j)
		return nil
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		r.head = j
		return ctx.Err()
	}
	r.ahead.Release(j.bytes)
	switch {
	case j.err == nil:
		r.ready = append(r.ready, j.record)
	case isChange(j.err):
		r.pass(j)
		return nil
	default:
		return j.err
	}
	r.taken.Store(max(r.taken.Load(), j.ordinal+1))
	return nil
}

func (r *followReader) receive(ctx context.Context) (*job, error) {
	if j := r.head; j != nil {
		r.head = nil
		return j, nil
	}
	select {
	case j, ok := <-r.jobs:
		return r.received(j, ok)
	default:
	}
	if len(r.passed) > 0 {
		return nil, errPassed
	}
	select {
	case j, ok := <-r.jobs:
		return r.received(j, ok)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *followReader) received(j *job, ok bool) (*job, error) {
	if !ok {
		return nil, r.failed
	}
	return j, nil
}

// pass counts an object that vanished or changed before it was read; what it is now is another object.
func (r *followReader) pass(j *job) {
	r.skipped.Add(1)
	r.passObject(j)
}

func (r *followReader) passObject(j *job) {
	r.passed = ingest.AppendSpan(r.passed, ingest.Span{Source: r.source, Start: j.ordinal, End: j.ordinal + 1})
	r.taken.Store(max(r.taken.Load(), j.ordinal+1))
}

// Passed implements ingest.StreamReader.
func (r *followReader) Passed() []ingest.Span {
	passed := r.passed
	r.passed = nil
	return passed
}

func (r *followReader) openShard(j *job) *shardReader {
	first := int64(0)
	for id := (ingest.ID{Source: r.source, Offset: j.ordinal}); r.progress.Contains(id); id.Item++ {
		first++
	}
	row := r.row(j.found)
	row.Items = ingest.ManyItems
	return newShardReader(r.access, j.Object, shard.Options{
		Count: -1, Labels: r.Labels, ImageColumn: r.ImageColumn, LabelColumn: r.LabelColumn,
		Row: func(sample int64) ingest.Row {
			row := row
			row.Item = int32(sample)
			return row
		},
	}, first)
}

// readShard leaves the shard's next record in ready, without what is done already. At its end shard is nil.
func (r *followReader) readShard(ctx context.Context) error {
	record, err := r.shard.Next(ctx)
	j := r.current
	switch {
	case err == nil:
		defer record.Release()
		r.ready = append(r.ready, r.missing(record)...)
		r.handed = r.handed || len(r.ready) > 0
		return nil
	case ctx.Err() != nil:
		return err
	}
	next := r.shard.next
	_ = r.shard.Close() // only read
	r.shard, r.current = nil, nil
	switch {
	case isEnd(err) && !r.handed:
		r.passObject(j) // a shard without samples, or none that is not done
	case isEnd(err):
		r.taken.Store(max(r.taken.Load(), j.ordinal+1))
	case isChange(err):
		r.pass(j)
	case errors.Is(err, errContent):
		row := r.row(j.found)
		row.Item, row.Items = int32(next), int32(next+1)
		r.ready = append(r.ready, problemRecord(r.mem, row, 1, err))
		r.taken.Store(max(r.taken.Load(), j.ordinal+1))
	default:
		return fmt.Errorf("follow %s: %w", r.url(j.Key), err)
	}
	return nil
}

// missing cuts the rows out of a record that are not done.
func (r *followReader) missing(record arrow.Record) []arrow.Record {
	items := record.Column(ingest.ColItem).(*array.Int32)
	id := ingest.ID{Source: r.source, Offset: r.current.ordinal}
	var kept []arrow.Record
	rows := int(record.NumRows())
	for start := 0; start < rows; {
		end := start
		for id.Item = items.Value(start); end < rows && !r.progress.Contains(id); id.Item++ {
			end++
		}
		if end > start {
			kept = append(kept, record.NewSlice(int64(start), int64(end)))
		}
		start = end + 1
	}
	return kept
}

// Close implements ingest.Reader.
func (r *followReader) Close() error {
	if !r.close() {
		return nil
	}
	r.cancel()
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	if r.shard != nil {
		_ = r.shard.Close() // only read
	}
	for _, record := range r.ready {
		record.Release()
	}
	if r.head != nil {
		r.drop(r.head)
	}
	for j := range r.jobs {
		r.drop(j)
	}
	r.running.Wait()
	r.stopScanner()
	return nil
}
