package kafka

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// headRoom is what of a record that is too large is looked at, in bytes: its time and offset.
const headRoom = 32

// records walks through the records of a batch that was verified. Each is valid until the next.
type records struct {
	batch *batch
	left  int32  // not read yet
	limit int    // largest record that is read whole, in bytes
	plain []byte // of a batch that is not compressed, not read yet
	// stream and scratch are of a compressed one.
	stream  *bufio.Reader
	close   func() error
	scratch []byte

	fields
	offset int64
	size   int64 // bytes of the record
	large  bool  // above the limit: key, value and headers are missing
}

// open starts at the batch's first record.
func (r *records) open(b *batch, limit int) error {
	*r = records{batch: b, left: b.count, limit: limit, plain: b.records, scratch: r.scratch[:0]}
	if !b.compressed() {
		return nil
	}
	stream, err := decompress(b.attrs.Compression(), b.records, windowFor(limit))
	if err != nil {
		return err
	}
	r.stream, r.close, r.plain = bufio.NewReader(stream), stream.Close, nil
	return nil
}

// shut ends the batch.
func (r *records) shut() {
	if r.close != nil {
		_ = r.close() // a decompressor in memory
	}
	r.batch, r.stream, r.close, r.fields = nil, nil, nil, fields{}
	if cap(r.scratch) > chunkBytes {
		r.scratch = nil
	}
}

// next goes to the next record, io.EOF after the last. Any other error makes the rest of the batch unreadable.
func (r *records) next() error {
	if r.left == 0 {
		return io.EOF
	}
	r.left--
	var err error
	if r.stream != nil {
		err = r.nextStream()
	} else {
		err = r.nextPlain()
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF // the head says that there are more
	}
	if err != nil {
		return err
	}
	r.offset = r.batch.base + r.offsetDelta
	if r.offsetDelta < 0 || r.offset > r.batch.last {
		return errFormat
	}
	return nil
}

func (r *records) nextPlain() error {
	body, rest, err := cutBytes(r.plain)
	if err != nil {
		return err
	}
	r.plain, r.size, r.large = rest, int64(len(body)), len(body) > r.limit
	if r.large {
		r.fields = fields{}
		_, err = r.parseHead(body)
		return err
	}
	return r.parse(body)
}

func (r *records) nextStream() error {
	size, err := binary.ReadVarint(r.stream)
	if err != nil {
		return err
	}
	if size < 0 {
		return errFormat
	}
	if r.size, r.large = size, size > int64(r.limit); r.large {
		return r.passLarge(size)
	}
	if int64(cap(r.scratch)) < size {
		r.scratch = make([]byte, size)
	}
	r.scratch = r.scratch[:size]
	if _, err := io.ReadFull(r.stream, r.scratch); err != nil {
		return err
	}
	return r.parse(r.scratch)
}

// passLarge reads the head of a record that is too large, and what is behind it only if another record follows.
func (r *records) passLarge(size int64) error {
	head, err := r.stream.Peek(int(min(size, headRoom)))
	if err != nil {
		return err
	}
	r.fields = fields{}
	if _, err = r.parseHead(head); err != nil || r.left == 0 {
		return err
	}
	_, err = io.CopyN(io.Discard, r.stream, size)
	return err
}
