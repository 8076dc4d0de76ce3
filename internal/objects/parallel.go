package objects

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// GetParallel is Get for large objects: up to parts ranges of partSize bytes are fetched at a time and handed out in order.
// It holds at most parts*partSize bytes, for as long as the reader is open. From byte 0 the whole is verified as Get does,
// with a sum that is asked for first. Close waits until what it fetches in the background has ended.
func (c *Client) GetParallel(ctx context.Context, bucket string, o Object, from, partSize int64, parts int) (io.ReadCloser, error) {
	if partSize <= 0 || parts <= 0 {
		return nil, fmt.Errorf("read %s: want parts of at least one byte, got %d of %d bytes", URL(bucket, o.Key), parts, partSize)
	}
	if parts == 1 || o.Size-from <= partSize {
		return c.Get(ctx, bucket, o, from)
	}
	if from < 0 {
		return nil, fmt.Errorf("read %s: byte %d is outside of its %d bytes", URL(bucket, o.Key), from, o.Size)
	}
	var check *verifier
	if from == 0 {
		what := call{verb: "read", bucket: bucket, key: o.Key}
		head, err := c.head(ctx, what, o)
		if err != nil {
			return nil, err
		}
		check = sumsOfHead(head).verifier(c.opts.IgnoreETag)
	}
	return c.parallel(ctx, bucket, o, from, partSize, parts, check), nil
}

// parallel reads on at byte from, which is not the end; check has seen what comes before.
func (c *Client) parallel(ctx context.Context, bucket string, o Object, from, partSize int64, parts int, check *verifier) *parallel {
	r := &parallel{what: call{verb: "read", bucket: bucket, key: o.Key}, pos: from, end: o.Size, check: check, spare: &c.spare}
	parts = int(min(int64(parts), (o.Size-from+partSize-1)/partSize))
	r.queue, r.free = make(chan *part, parts), make(chan []byte, parts)
	for range parts {
		r.free <- nil // taken when it is used
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.running.Add(1)
	go r.dispatch(c, o, partSize)
	return r
}

// part is one range: data and err are valid when done is closed.
type part struct {
	data []byte
	err  error
	done chan struct{}
}

// parallel hands out the parts in order. Buffers go round: free -> part -> free; in the end, when nothing writes to them
// any more, back to the client.
type parallel struct {
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	what     call
	queue    chan *part
	free     chan []byte
	spare    *sync.Pool // of *[]byte
	now      *part
	rest     []byte // of now
	pos, end int64
	check    *verifier
	err      error
}

// dispatch starts a fetch for each part as soon as there is a buffer for it.
func (r *parallel) dispatch(c *Client, o Object, partSize int64) {
	defer r.running.Done()
	defer close(r.queue)
	for off := r.pos; off < o.Size; off += partSize {
		var buf []byte
		select {
		case buf = <-r.free:
		case <-r.ctx.Done():
			return
		}
		if buf == nil {
			buf = r.buffer(partSize)
		}
		p := &part{data: buf[:min(partSize, o.Size-off)], done: make(chan struct{})}
		r.queue <- p // there is room: no more parts than buffers
		r.running.Add(1)
		go func() {
			defer r.running.Done()
			defer close(p.done)
			body := c.reader(r.ctx, r.what.bucket, o, off, off+int64(len(p.data)))
			defer body.Close()
			_, p.err = io.ReadFull(body, p.data)
		}()
	}
}

// buffer takes one that an earlier reader is done with, if it fits: fresh memory costs as much as the network.
func (r *parallel) buffer(size int64) []byte {
	if old, ok := r.spare.Get().(*[]byte); ok && int64(cap(*old)) >= size && int64(cap(*old)) <= 2*size {
		return (*old)[:size]
	}
	return make([]byte, size)
}

// Read implements io.Reader.
func (r *parallel) Read(p []byte) (int, error) {
	if r.err == nil && len(p) > 0 && len(r.rest) == 0 {
		r.err = r.next()
	}
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest, r.pos = r.rest[n:], r.pos+int64(n)
	if r.check == nil {
		return n, nil
	}
	r.check.Write(p[:n])
	if r.pos < r.end {
		return n, nil
	}
	if err := r.check.check(); err != nil {
		r.err = &failure{kind: ErrCorrupt, text: fmt.Sprintf("%s: %s", r.what, err)}
		return 0, r.err
	}
	return n, nil
}

// next gives the last part's buffer back and waits for the next one.
func (r *parallel) next() error {
	if r.pos == r.end {
		return io.EOF
	}
	if r.now != nil {
		r.free <- r.now.data[:cap(r.now.data)]
		r.now = nil
	}
	p, ok := <-r.queue
	if !ok {
		return fmt.Errorf("%s: %w", r.what, context.Cause(r.ctx))
	}
	<-p.done
	if p.err != nil {
		return p.err
	}
	r.now, r.rest = p, p.data
	return nil
}

// Close implements io.Closer.
func (r *parallel) Close() error {
	r.cancel()
	r.running.Wait()
	r.recycle()
	if r.err == nil || r.err == io.EOF {
		r.err = fmt.Errorf("%s: reader is closed", r.what)
	}
	return nil
}

// recycle gives the buffers back, once.
func (r *parallel) recycle() {
	give := func(buf []byte) {
		if buf = buf[:cap(buf)]; len(buf) > 0 {
			r.spare.Put(&buf)
		}
	}
	if r.now != nil {
		give(r.now.data)
		r.now, r.rest = nil, nil
	}
	for p := range r.queue { // closed by dispatch
		give(p.data)
	}
	for {
		select {
		case buf := <-r.free:
			give(buf)
		default:
			return
		}
	}
}
