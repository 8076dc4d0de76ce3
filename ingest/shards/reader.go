package shards

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

const (
	maxRows  = 64      // samples of a record
	maxBatch = 1 << 20 // bytes of images and keys of a record of several samples
	maxLabel = 32      // bytes of a label
)

// reader hands out the samples of a shard.
type reader struct {
	in        *input
	samples   *scanner
	from      int64
	count     int64 // samples that the manifest promises
	labels    bool
	max       int64 // bytes of an image that is read whole
	mem       memory.Allocator
	source    string
	partition int32

	bytes   int     // of the record before, what the next is expected to need
	pending *member // found, but for the next record
	label   *int32  // of group labelOf, whose image is still to come
	labelOf int64
	err     error // what every further Next returns
	closed  atomic.Bool
}

// Next implements ingest.Reader.
func (r *reader) Next(ctx context.Context) (arrow.Record, error) {
	if r.closed.Load() {
		return nil, net.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	r.in.stop = ctx.Done()
	b := ingest.NewBuilder(r.mem)
	defer b.Release()
	b.Grow(r.bytes)
	if err := r.fill(b); err != nil {
		r.err = r.explain(ctx, err)
	}
	if b.Len() == 0 || r.err != nil && !errors.Is(r.err, io.EOF) {
		return nil, r.err
	}
	r.bytes = min(b.Bytes(), maxBatch)
	return b.Record(), nil
}

// fill adds samples until the record is full, which shows by the image that is one too many: labels may follow theirs.
func (r *reader) fill(b *ingest.Builder) error {
	keys := 0
	for {
		m, err := r.take()
		if err != nil {
			return err
		}
		switch size := min(m.size, r.max+1); {
		case m.sample < r.from:
		case m.kind == label:
			err = r.addLabel(b, m)
		case b.Len() == maxRows || b.Len() > 0 && int64(b.Bytes()+keys)+size > maxBatch:
			r.pending = &m
			return nil
		default:
			keys += len(m.key)
			err = r.addImage(b, m, int(size))
		}
		if err != nil {
			return err
		}
	}
}

// take returns the next member, io.EOF after the last of a shard that is as listed.
func (r *reader) take() (member, error) {
	if m := r.pending; m != nil {
		r.pending = nil
		return *m, nil
	}
	m, err := r.samples.next()
	if err == nil && m.kind == image && m.sample >= r.count {
		return m, r.changed("at least ", m.sample+1)
	}
	if !errors.Is(err, io.EOF) {
		return m, err
	}
	if err := r.in.finish(); err != nil {
		return m, err
	}
	if n := r.samples.count(); n != r.count {
		return m, r.changed("", n)
	}
	return m, io.EOF
}

func (r *reader) changed(how string, n int64) error {
	return changed(r.in.file.Name(), fmt.Sprintf("%d samples are listed, it has %s%d", r.count, how, n))
}

func (r *reader) addImage(b *ingest.Builder, m member, size int) error {
	row := ingest.Row{
		ID:  ingest.ID{Source: r.source, Partition: r.partition, Offset: m.sample},
		Key: strings.ToValidUTF8(m.key, "\uFFFD"),
	}
	if r.labelOf == m.group {
		row.Label = r.label
	}
	return b.AppendFrom(row, r.samples.tar, size)
}

// addLabel gives its label to the row of the sample, or keeps it for when the image comes.
func (r *reader) addLabel(b *ingest.Builder, m member) error {
	if !r.labels {
		return nil
	}
	value, err := readLabel(r.samples.tar, m)
	if err != nil {
		return err
	}
	if r.samples.image {
		b.SetLabel(value)
	} else {
		r.label, r.labelOf = &value, m.group
	}
	return nil
}

func readLabel(content io.Reader, m member) (int32, error) {
	text := make([]byte, min(m.size, maxLabel))
	if _, err := io.ReadFull(content, text); errors.Is(err, io.EOF) {
		return 0, io.ErrUnexpectedEOF // io.EOF is for the end of the shard
	} else if err != nil {
		return 0, err
	}
	value, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	if err != nil || m.size > maxLabel {
		return 0, fmt.Errorf("%w: %q of %s.cls; write class numbers, or read the shards without labels", errLabel, text, m.key)
	}
	return int32(value), nil
}

var errLabel = errors.New("label is not a whole number of 32 bits")

// explain turns an error of the file or the tar into what a caller can use.
func (r *reader) explain(ctx context.Context, err error) error {
	switch name := r.in.file.Name(); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case r.closed.Load():
		return net.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ingest.ErrChanged):
		return fmt.Errorf("read shard: %w", err)
	case errors.Is(err, errLabel):
		return fmt.Errorf("read shard: %s: sample %d: %w", name, r.samples.samples, err)
	default:
		return fmt.Errorf("read shard: %w", damaged(name, r.samples.samples, r.in.position, err))
	}
}

// Close implements ingest.Reader.
func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	return r.in.close()
}
