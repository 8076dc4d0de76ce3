package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"mocostream/ingest/internal/shard"
	"mocostream/internal/objects"
)

// remote is a shard in a bucket.
type remote struct {
	*access
	object objects.Object
	at     io.ReaderAt
	cancel context.CancelFunc // ends what reads at

	mu     sync.Mutex
	failed error // the store's first error: formats wrap it beyond recognition
}

var _ shard.Object = (*remote)(nil)

// shardObject returns a shard to read or count. What is small is read whole and verified before anybody sees a byte of it.
func (a *access) shardObject(ctx context.Context, o objects.Object) (*remote, error) {
	r := &remote{access: a, object: o}
	if o.Size <= a.partSize {
		data, err := a.client.ReadAll(ctx, a.bucket, o)
		if err != nil {
			return nil, err
		}
		a.bytes.Add(uint64(len(data)))
		r.at, r.cancel = bytes.NewReader(data), func() {}
		return r, nil
	}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.at = a.client.ReaderAt(ctx, a.bucket, o)
	return r, nil
}

// Name implements shard.Object.
func (r *remote) Name() string { return r.url(r.object.Key) }

// Size implements shard.Object.
func (r *remote) Size() int64 { return r.object.Size }

// ReadAt implements shard.Object.
func (r *remote) ReadAt(p []byte, offset int64) (int, error) {
	n, err := r.at.ReadAt(p, offset)
	if r.inBucket() {
		r.bytes.Add(uint64(n))
	}
	return n, r.note(err)
}

func (r *remote) inBucket() bool {
	_, inMemory := r.at.(*bytes.Reader)
	return !inMemory
}

// From implements shard.Object. ctx ends the reading too.
func (r *remote) From(ctx context.Context, offset int64) (io.ReadCloser, error) {
	if !r.inBucket() {
		section := io.NewSectionReader(r.at, 0, r.object.Size)
		_, err := section.Seek(offset, io.SeekStart)
		return inMemory{section}, err
	}
	b := &body{size: r.object.Size, position: offset, note: r.note, read: &r.bytes}
	b.open = func(from int64) (io.ReadCloser, error) {
		raw, err := r.client.Stream(ctx, r.bucket, r.object, from, r.partSize, r.parallel)
		return raw, r.note(err)
	}
	return b, b.fill() // a shard that is not there any more shows at once
}

// inMemory is a shard that was read whole.
type inMemory struct{ *io.SectionReader }

func (inMemory) Close() error { return nil }

// note keeps the store's first error.
func (r *remote) note(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.failed == nil {
			r.failed = err
		}
	}
	return err
}

// failure returns the store's first error, nil when what is wrong lies in the shard's content.
func (r *remote) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Close implements shard.Object.
func (r *remote) Close() error {
	r.cancel()
	return nil
}

const (
	// bodyBuffer is read at a time: a connection that is emptied in large steps costs less than the copy from here into a
	// record. What is asked for in such pieces is read straight to its place.
	bodyBuffer = 128 << 10
	// reopenAfter is the number of unwanted bytes from which another request costs less than reading them.
	reopenAfter = 4 << 20
)

// body is an object read on from a byte. Formats take it in small pieces, look at its beginning twice and pass over what
// they do not need; it seeks for them, within its buffer where that is possible.
type body struct {
	size     int64
	open     func(from int64) (io.ReadCloser, error)
	note     func(error) error
	read     *atomic.Uint64 // bytes that came
	raw      io.ReadCloser  // nil: to be opened at position
	position int64          // of buffer[at]
	buffer   []byte
	at, end  int // what is read and not yet handed out
}

var _ io.Seeker = (*body)(nil)

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.at == b.end && b.raw != nil && len(p) >= bodyBuffer {
		n, err := b.raw.Read(p) // straight to where it belongs
		b.read.Add(uint64(n))
		b.at, b.end, b.position = 0, 0, b.position+int64(n)
		return n, b.note(err)
	}
	if b.at == b.end {
		if err := b.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.buffer[b.at:b.end])
	b.at, b.position = b.at+n, b.position+int64(n)
	return n, nil
}

// fill reads at least a byte into the empty buffer.
func (b *body) fill() (err error) {
	if b.raw == nil {
		if b.raw, err = b.open(b.position); err != nil {
			b.raw = nil
			return err
		}
	}
	if b.buffer == nil {
		b.buffer = make([]byte, bodyBuffer)
	}
	b.at = 0
	b.end, err = io.ReadAtLeast(b.raw, b.buffer, 1)
	b.read.Add(uint64(b.end))
	return b.note(err)
}

// Seek implements io.Seeker.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.position
	case io.SeekEnd:
		offset += b.size
	}
	by := offset - b.position
	switch {
	case offset < 0 || offset > b.size:
		return b.position, errors.New("seek outside of the object")
	case by >= -int64(b.at) && by <= int64(b.end-b.at):
		b.at, b.position = b.at+int(by), offset
		return offset, nil
	case by > 0 && by < reopenAfter && b.raw != nil:
		by -= int64(b.end - b.at)
		b.position += int64(b.end - b.at)
		b.at = b.end
		return b.discard(by)
	}
	b.Close()
	b.at, b.end, b.position = 0, 0, offset
	return offset, nil
}

// discard reads over what nobody wants; the checksum of the whole wants it.
func (b *body) discard(by int64) (int64, error) {
	for by > 0 {
		if b.at == b.end {
			if err := b.fill(); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return b.position, err
			}
		}
		n := min(by, int64(b.end-b.at))
		b.at, b.position, by = b.at+int(n), b.position+n, by-n
	}
	return b.position, nil
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.raw == nil {
		return nil
	}
	err := b.raw.Close()
	b.raw = nil
	return err
}
