package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"mocostream/ingest"
	"mocostream/internal/objects"
	"mocostream/internal/reuse"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Client is what this package needs of an S3 client. Its methods are called concurrently.
type Client interface {
	List(ctx context.Context, bucket, prefix, startAfter string) iter.Seq2[objects.Object, error]
	Stat(ctx context.Context, bucket, key string) (objects.Object, error)
	Get(ctx context.Context, bucket string, o objects.Object, from int64) (io.ReadCloser, error)
	ReadAll(ctx context.Context, bucket string, o objects.Object) ([]byte, error)
	ReaderAt(ctx context.Context, bucket string, o objects.Object) io.ReaderAt
	Stream(ctx context.Context, bucket string, o objects.Object, from, partSize int64, parts int) (io.ReadCloser, error)
}

var _ Client = (*objects.Client)(nil)

const (
	defaultPartSize   = 16 << 20
	defaultParallel   = 4
	defaultPauseLimit = time.Hour
	// corruptTries is how often an object whose bytes do not fit their checksum is asked for.
	corruptTries = 5
)

// access reads objects of a bucket. Methods may be called concurrently.
type access struct {
	*store
	bucket string
}

// store is what reads of all buckets share.
type store struct {
	client   Client
	maxBytes int64
	partSize int64
	parallel int
	mem      memory.Allocator
	counters
	pauser
}

type accessOptions struct {
	client     Client
	bucket     string
	maxBytes   int64
	partSize   int64
	parallel   int
	pauseLimit time.Duration
	mem        memory.Allocator
	warn       func(text string)
}

func newAccess(o accessOptions) (*access, error) {
	switch {
	case o.client == nil:
		return nil, errors.New("no S3 client given")
	case o.bucket == "":
		return nil, errors.New("no bucket given; set ingest.s3.url to s3://bucket/prefix")
	case o.partSize < 0 || o.parallel < 0 || o.pauseLimit < 0:
		return nil, errors.New("part size, parallel requests and pause limit may not be negative")
	}
	if o.warn == nil {
		o.warn = func(string) {}
	}
	if o.mem == nil {
		o.mem = reuse.New()
	}
	return &access{bucket: o.bucket, store: &store{
		client: o.client, maxBytes: o.maxBytes, mem: o.mem,
		partSize: cmp.Or(o.partSize, defaultPartSize), parallel: cmp.Or(o.parallel, defaultParallel),
		pauser: pauser{limit: cmp.Or(o.pauseLimit, defaultPauseLimit), warn: o.warn, first: time.Second, longest: 30 * time.Second},
	}}, nil
}

func (a *access) url(key string) string { return objects.URL(a.bucket, key) }

// image reads an object as a record of one row.
func (a *access) image(ctx context.Context, o objects.Object, row ingest.Row) (record arrow.Record, err error) {
	b := ingest.NewBuilder(a.mem)
	defer b.Release()
	err = a.persist(ctx, func() error {
		if b.Len() > 0 { // of bytes that turned out corrupt
			b.Record().Release()
		}
		return a.appendImage(ctx, b, o, row)
	})
	if err != nil {
		return nil, err
	}
	a.objects.Add(1)
	return b.Record(), nil
}

// appendImage reads an image straight into the record's memory.
func (a *access) appendImage(ctx context.Context, b *ingest.Builder, o objects.Object, row ingest.Row) error {
	if o.Size > a.maxBytes {
		head := io.NewSectionReader(a.client.ReaderAt(ctx, a.bucket, o), 0, a.maxBytes+1)
		a.bytes.Add(uint64(a.maxBytes + 1))
		return b.AppendFrom(row, head, int(a.maxBytes+1))
	}
	body, err := a.client.Get(ctx, a.bucket, o, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := b.AppendFrom(row, body, int(o.Size)); err != nil {
		return err
	}
	a.bytes.Add(uint64(o.Size))
	return atEnd(body, a.url(o.Key))
}

// atEnd reads on behind the last byte, which verifies the checksum and frees the connection for the next request.
func atEnd(body io.Reader, name string) error {
	var more [1]byte
	n, err := io.ReadFull(body, more[:])
	switch {
	case n > 0:
		return fmt.Errorf("read %s: more bytes than listed: %w", name, objects.ErrChanged)
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// persist tries again while bytes come that do not fit their checksum, and waits while credentials are refused.
func (a *access) persist(ctx context.Context, try func() error) error {
	return a.patiently(ctx, func() (err error) {
		for range corruptTries {
			if err = try(); !errors.Is(err, objects.ErrCorrupt) {
				return err
			}
			a.corrupt.Add(1)
		}
		return err
	})
}

// list yields the objects below a prefix in the order of their keys.
func (a *access) list(ctx context.Context, prefix string) iter.Seq2[objects.Object, error] {
	return func(yield func(objects.Object, error) bool) {
		last, stopped := "", false
		err := a.patiently(ctx, func() error {
			for o, err := range a.client.List(ctx, a.bucket, prefix, last) {
				switch {
				case err != nil:
					return err
				case o.Key <= last:
					return fmt.Errorf("list %s: the server lists %q after %q; keys have to come in order (directory buckets do not)",
						a.url(prefix), o.Key, last)
				}
				last = o.Key
				if stopped = !yield(o, nil); stopped {
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(objects.Object{}, err)
		}
	}
}
