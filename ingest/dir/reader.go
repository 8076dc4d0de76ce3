package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// nonblock keeps a pipe that took a file's place from hanging the open.
const nonblock = syscall.O_NONBLOCK

// reader hands out the one image of a file.
type reader struct {
	file   *os.File // nil: at the end from the start
	row    ingest.Row
	listed int64 // size in the manifest
	size   int   // bytes to read
	mem    memory.Allocator
	done   bool
	closed atomic.Bool
}

// Next implements ingest.Reader. Reading a local file cannot be interrupted: cancellation shows at the next call.
func (r *reader) Next(ctx context.Context) (arrow.Record, error) {
	if r.closed.Load() {
		return nil, net.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.done || r.file == nil {
		return nil, io.EOF
	}
	record, err := r.read()
	switch {
	case r.closed.Load() && err != nil:
		return nil, net.ErrClosed
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("read image: %w", changed(r.file.Name(), fmt.Sprintf("it ends before its %d bytes", r.listed)))
	case err != nil:
		return nil, fmt.Errorf("read image: %w", err)
	}
	r.done = true
	return record, nil
}

func (r *reader) read() (arrow.Record, error) {
	b := ingest.NewBuilder(r.mem)
	defer b.Release()
	if err := b.AppendFrom(r.row, r.file, r.size); err != nil {
		return nil, err
	}
	return b.Record(), nil
}

// Close implements ingest.Reader.
func (r *reader) Close() error {
	if r.closed.Swap(true) || r.file == nil {
		return nil
	}
	return r.file.Close()
}
