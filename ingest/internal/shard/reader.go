package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// samples are those of one shard, in one format. It is used by one goroutine.
type samples interface {
	// fill adds samples until the record is full (nil; there is at least one more sample then) or the shard ends (io.EOF).
	fill(ctx context.Context, b *batch) error
	// close releases what it holds, but not the Object.
	close()
}

// reader hands out the samples of a shard.
type reader struct {
	object  Object
	samples samples
	Options
	cancel func() // ends the reading as a whole

	bytes  int // of the record before, what the next is expected to need
	err    error
	busy   sync.Mutex // held by Next, so that Close releases behind it
	closed atomic.Bool
	once   sync.Once // closes the object
}

// Next implements ingest.Reader.
func (r *reader) Next(ctx context.Context) (arrow.Record, error) {
	r.busy.Lock()
	defer r.busy.Unlock()
	if r.closed.Load() {
		return nil, net.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.interrupt() })
	defer stop()
	b := &batch{Builder: ingest.NewBuilder(r.Allocator), options: &r.Options}
	defer b.Release()
	b.Grow(r.bytes)
	if err := r.fill(ctx, b); err != nil {
		r.err = r.explain(ctx, err)
	}
	if b.Len() == 0 || r.err != nil && !errors.Is(r.err, io.EOF) {
		return nil, r.err
	}
	r.bytes = min(b.Bytes(), maxBatch)
	return r.record(b)
}

// fill is the format's, without the panics that Arrow's readers answer damaged bytes with.
func (r *reader) fill(ctx context.Context, b *batch) (err error) {
	defer recovered(r.object, &err)
	return r.samples.fill(ctx, b)
}

// recovered turns a panic about foreign bytes into an error. Running out of memory is none of those.
func recovered(o Object, err *error) {
	switch p := recover().(type) {
	case nil:
	case runtime.Error:
		*err = damaged(o, fmt.Errorf("%w", p))
	case error:
		*err = damaged(o, p)
	default:
		*err = damaged(o, fmt.Errorf("%v", p))
	}
}

// record returns what was gathered. Where nobody knew the number of samples, the last gets it as Items.
func (r *reader) record(b *batch) (arrow.Record, error) {
	record := b.Record()
	if r.Count >= 0 || r.err == nil {
		return record, nil
	}
	defer record.Release()
	if b.last >= math.MaxInt32 {
		r.err = fmt.Errorf("read shard %s: more than %d samples; split it", r.object.Name(), math.MaxInt32)
		return nil, r.err
	}
	return withLastItems(r.Allocator, record, int32(b.last+1))
}

// withLastItems returns the record with another number of items in its last row.
func withLastItems(mem memory.Allocator, record arrow.Record, items int32) (arrow.Record, error) {
	if mem == nil {
		mem = memory.NewGoAllocator()
	}
	values := record.Column(ingest.ColItems).(*array.Int32).Int32Values()
	b := array.NewInt32Builder(mem)
	defer b.Release()
	b.AppendValues(values[:len(values)-1], nil)
	b.Append(items)
	column := b.NewArray()
	defer column.Release()
	return record.SetColumn(ingest.ColItems, column)
}

// explain turns an error of the object or its format into what a caller can use.
func (r *reader) explain(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case r.closed.Load():
		return net.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("read shard: %w", err)
}

// interrupt unblocks a read of the object, for ever.
func (r *reader) interrupt() (err error) {
	r.once.Do(func() {
		r.cancel()
		err = r.object.Close()
	})
	return err
}

// Close implements ingest.Reader.
func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	err := r.interrupt()
	r.busy.Lock()
	defer r.busy.Unlock()
	r.samples.close()
	return err
}

// changed says that a shard has another number of samples than promised.
func changed(o Object, listed int64, how string, found int64) error {
	return fmt.Errorf("%s %w: %d samples are listed, it has %s%d; bring the shard back, or start a new run, which lists the shards again",
		o.Name(), ingest.ErrChanged, listed, how, found)
}

// damaged says what is wrong with a table.
func damaged(o Object, err error) error {
	return fmt.Errorf("%s: %w; the shard is cut short, damaged or no such table: fetch or write it again", o.Name(), noEOF(err))
}
