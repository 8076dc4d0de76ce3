package s3

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"mocostream/ingest"
	"mocostream/internal/objects"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// gate lets Close end a Next that is under way.
type gate struct {
	mu     sync.Mutex
	closed bool
	cancel context.CancelFunc // of the Next under way, or nil
}

// enter begins a Next, which works with the context returned and calls leave at its end.
func (g *gate) enter(ctx context.Context) (inner context.Context, leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, net.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	inner, cancel := context.WithCancel(ctx)
	g.cancel = cancel
	return inner, cancel, nil
}

// close ends the Next under way, and says whether it is the first call.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := !g.closed
	g.closed = true
	if g.cancel != nil {
		g.cancel()
	}
	return first
}

// explain returns what a caller of Next is told instead of an error that came since it was interrupted.
func (g *gate) explain(ctx context.Context, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case g.closed:
		return net.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// imageReader hands out the one image of an object.
type imageReader struct {
	*access
	gate
	object objects.Object
	row    ingest.Row
	skip   bool // a changed object is a bad image
	done   bool
}

// Next implements ingest.Reader.
func (r *imageReader) Next(ctx context.Context) (arrow.Record, error) {
	inner, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if r.done {
		return nil, io.EOF
	}
	record, err := r.image(inner, r.object, r.row)
	switch {
	case err == nil:
	case isChange(err) && r.skip:
		r.skipped.Add(1)
		record = problemRecord(r.mem, r.row, 1, err)
	case isChange(err):
		return nil, r.explain(ctx, changed(err))
	default:
		return nil, r.explain(ctx, err)
	}
	r.done = true
	return record, nil
}

// Close implements ingest.Reader.
func (r *imageReader) Close() error {
	r.close()
	return nil
}

// problemRecord returns n samples without an image, from the row on.
func problemRecord(mem memory.Allocator, row ingest.Row, n int64, why error) arrow.Record {
	b := ingest.NewBuilder(mem)
	defer b.Release()
	row.Problem = why.Error()
	for range n {
		b.Append(row, nil)
		row.Offset++
	}
	return b.Record()
}
