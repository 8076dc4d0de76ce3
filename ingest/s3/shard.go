package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"mocostream/ingest"
	"mocostream/ingest/internal/shard"
	"mocostream/internal/objects"

	"github.com/apache/arrow/go/v17/arrow"
)

// problemRows is how many samples without an image a record holds at most.
const problemRows = 64

// shardReader hands out the samples of a shard, and opens it again behind the last one where that helps.
type shardReader struct {
	*access
	gate
	object objects.Object
	opts   shard.Options
	skip   bool  // samples of a changed object are bad images
	next   int64 // sample that comes next

	busy    chan struct{} // holds a token while Next works, so that Close releases behind it
	inner   ingest.Reader // nil: to be opened
	remote  *remote       // of inner
	opened  int64         // sample at which inner was opened
	lost    error         // why the samples left are bad images
	ended   bool
	counted bool // among the objects read
}

// errContent says that what is wrong with a shard is what is stored.
var errContent = errors.New("shard cannot be read")

func newShardReader(a *access, o objects.Object, opts shard.Options, from int64) *shardReader {
	opts.MaxBytes, opts.Allocator = a.maxBytes, a.mem
	return &shardReader{access: a, object: o, opts: opts, next: from, busy: make(chan struct{}, 1)}
}

// Next implements ingest.Reader.
func (r *shardReader) Next(ctx context.Context) (arrow.Record, error) {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	inner, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	record, err := r.advance(inner)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	r.next += record.NumRows()
	return record, nil
}

func (r *shardReader) advance(ctx context.Context) (record arrow.Record, err error) {
	if r.ended {
		return nil, io.EOF
	}
	if r.lost != nil {
		return r.problems()
	}
	err = r.persist(ctx, func() (err error) {
		record, err = r.step(ctx)
		return err
	})
	switch {
	case errors.Is(err, io.EOF):
		r.ended = true
	case err != nil && ctx.Err() == nil && isChange(err) && r.skip:
		r.lost = err
		return r.problems()
	case err != nil && isChange(err) && r.opts.Count >= 0:
		err = changed(err)
	}
	return record, err
}

// problems returns bad images for what the manifest lists and the bucket does not have any more.
func (r *shardReader) problems() (arrow.Record, error) {
	n := min(r.opts.Count-r.next, problemRows)
	if n <= 0 {
		return nil, io.EOF
	}
	r.skipped.Add(uint64(n))
	row := r.opts.Row(r.next)
	row.Key = r.object.Key
	return problemRecord(r.mem, row, n, r.lost), nil
}

// step reads a record. After an error the shard is to be opened again.
func (r *shardReader) step(ctx context.Context) (arrow.Record, error) {
	if r.inner == nil {
		if err := r.open(ctx); err != nil {
			return nil, err
		}
	}
	record, err := r.inner.Next(ctx)
	if err == nil || errors.Is(err, io.EOF) {
		return record, err
	}
	failed := r.remote.failure()
	r.drop()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case failed == nil:
		return nil, fmt.Errorf("%w: %w", errContent, err)
	case errors.Is(failed, objects.ErrCorrupt) && r.next > r.opened:
		// Not ErrCorrupt itself: another try would hide it.
		return nil, fmt.Errorf("%v; %d of its samples were handed out before that showed, one of them may be damaged: "+
			"resume from the last checkpoint", failed, r.next-r.opened)
	}
	return nil, failed
}

func (r *shardReader) open(ctx context.Context) error {
	remote, err := r.shardObject(ctx, r.object)
	if err != nil {
		return err
	}
	opts := r.opts
	opts.From = r.next
	inner, err := shard.Open(ctx, remote, opts)
	switch failed := remote.failure(); {
	case err == nil:
		if !r.counted {
			r.objects.Add(1)
			r.counted = true
		}
		r.inner, r.remote, r.opened = inner, remote, r.next
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case failed != nil:
		return failed
	}
	return fmt.Errorf("%w: %w", errContent, err)
}

func (r *shardReader) drop() {
	if r.inner != nil {
		_ = r.inner.Close() // what it read is all that counts
		r.inner = nil
	}
}

// Close implements ingest.Reader.
func (r *shardReader) Close() error {
	if !r.close() {
		return nil
	}
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	r.drop()
	return nil
}
