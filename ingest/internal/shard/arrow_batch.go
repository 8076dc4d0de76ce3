package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var errBatch = errors.New("the values of a batch are damaged")

// arrowColumn is the values of a column in a batch.
type arrowColumn struct {
	node  *node
	valid [][]byte // bitmaps of the column and of the structs around it; empty: all
	ends  []byte   // offsets, or views
	data  []byte   // values
	more  [][]byte // values of views
}

// bufferRange is where a buffer lies in a message's body.
type bufferRange struct{ offset, size int64 }

// batchReader reads batches into memory that it keeps for the next.
type batchReader struct {
	object Object
	schema *arrowSchema
	limit  int64 // bytes
	unpack unpacker
	body   []byte
	plain  []byte
}

// columns reads the wanted columns of a batch. They hold until the call after.
func (r *batchReader) columns(msg arrowMessage, wanted []*node) ([]arrowColumn, error) {
	batch := msg.table.table(2)
	places, err := r.places(batch)
	if err != nil {
		return nil, err
	}
	all := make([]arrowColumn, len(wanted))
	var need []*[]byte
	var at []bufferRange
	want := func(to *[]byte, index int) {
		need, at = append(need, to), append(at, places[index])
	}
	for i, x := range wanted {
		c := &all[i]
		c.node = x
		c.valid = make([][]byte, 0, maxArrowDepth+1)
		for p := x; p != nil; p = p.parent {
			c.valid = append(c.valid, nil)
			want(&c.valid[len(c.valid)-1], p.buffer)
		}
		switch {
		case x.kind == arrowInt:
			want(&c.data, x.buffer+1)
		case x.view():
			want(&c.ends, x.buffer+1)
			c.more = make([][]byte, x.variadic)
			for j := range c.more {
				want(&c.more[j], x.buffer+2+j)
			}
		default:
			want(&c.ends, x.buffer+1)
			want(&c.data, x.buffer+2)
		}
	}
	return all, r.read(msg, batch, need, at)
}

// places returns where the buffers of a batch lie.
func (r *batchReader) places(batch flatTable) ([]bufferRange, error) {
	start, n := batch.vector(2, 16)
	first, views := batch.vector(4, 8)
	variadic := make([]int, views)
	for i := range variadic {
		count := signed(batch.f.bytes(first+8*i, 8), 8)
		if count < 0 || count > int64(n) {
			return nil, errFlat
		}
		variadic[i] = int(count)
	}
	buffers, err := r.schema.place(variadic)
	if err != nil || batch.f.err != nil || buffers > n {
		return nil, errFlat
	}
	places := make([]bufferRange, buffers)
	for i := range places {
		raw := batch.f.bytes(start+16*i, 16)
		places[i] = bufferRange{signed(raw, 8), signed(raw[8:], 8)}
	}
	return places, batch.f.err
}

// read fills the needed buffers.
func (r *batchReader) read(msg arrowMessage, batch flatTable, need []*[]byte, at []bufferRange) error {
	low, high := msg.size, int64(0)
	for _, b := range at {
		if b.offset < 0 || b.size < 0 || b.offset > msg.size || b.size > msg.size-b.offset {
			return errFlat
		}
		if b.size > 0 {
			low, high = min(low, b.offset), max(high, b.offset+b.size)
		}
	}
	if high < low {
		return nil // all are empty
	}
	if high-low > r.limit+r.limit/8 {
		return fmt.Errorf("a batch of %d bytes is over the limit of %d; write smaller batches", high-low, r.limit)
	}
	r.body = resize(r.body, int(high-low))
	if err := readAt(r.object, r.body, msg.body+low); err != nil {
		return err
	}
	for i, b := range at {
		if b.size > 0 {
			*need[i] = r.body[b.offset-low:][:b.size]
		}
	}
	if compression := batch.table(3); compression.exists() {
		return r.unpackAll(compression.integer(0, 1), need)
	}
	return batch.f.err
}

// unpackAll replaces the buffers by what they unpack to; each says at its start how long that is.
func (r *batchReader) unpackAll(compression int64, need []*[]byte) error {
	const asIs = -1
	codec, known := map[int64]codec{0: codecLz4Frame, 1: codecZstd}[compression]
	if !known {
		return fmt.Errorf("compression %d is not known", compression)
	}
	total := int64(0)
	for _, b := range need {
		if len(*b) == 0 {
			continue
		}
		if len(*b) < 8 {
			return errBatch
		}
		size := signed(*b, 8)
		if size < asIs || size > r.limit || total+size > r.limit {
			return fmt.Errorf("a batch that unpacks to %d bytes or more is over the limit of %d; write smaller batches", size, r.limit)
		}
		total += max(size, 0)
	}
	r.plain = resize(r.plain, int(total))
	free := r.plain
	for _, b := range need {
		if len(*b) == 0 {
			continue
		}
		size := signed(*b, 8)
		packed := (*b)[8:]
		if size == asIs {
			*b = packed
			continue
		}
		if err := r.unpack.unpack(codec, free[:size:size], packed); err != nil {
			return err
		}
		*b, free = free[:size:size], free[size:]
	}
	return nil
}

// valueAt returns the bytes of row i, nil where it is null.
func (c *arrowColumn) valueAt(i int) ([]byte, error) {
	valid, err := c.isValid(i)
	if err != nil || !valid {
		return nil, err
	}
	switch c.node.kind {
	case arrowInt:
		size := c.node.bits / 8
		return sub(c.data, int64(i)*int64(size), int64(size))
	case arrowBinaryView, arrowUtf8View:
		return c.viewAt(i)
	}
	width := 4
	if c.node.kind == arrowLargeBinary || c.node.kind == arrowLargeUtf8 {
		width = 8
	}
	ends, err := sub(c.ends, int64(i)*int64(width), 2*int64(width))
	if err != nil {
		return nil, err
	}
	start, end := signed(ends, width), signed(ends[width:], width)
	return sub(c.data, start, end-start)
}

func (c *arrowColumn) isValid(i int) (bool, error) {
	for _, bitmap := range c.valid {
		if len(bitmap) == 0 {
			continue
		}
		if i/8 >= len(bitmap) {
			return false, errBatch
		}
		if bitmap[i/8]>>(i%8)&1 == 0 {
			return false, nil
		}
	}
	return true, nil
}

// viewAt reads a view: up to 12 bytes lie in it, more in another buffer.
func (c *arrowColumn) viewAt(i int) ([]byte, error) {
	view, err := sub(c.ends, 16*int64(i), 16)
	if err != nil {
		return nil, err
	}
	size := signed(view, 4)
	if size <= 12 {
		return sub(view, 4, size)
	}
	buffer, offset := int64(binary.LittleEndian.Uint32(view[8:])), signed(view[12:], 4)
	if buffer >= int64(len(c.more)) {
		return nil, errBatch
	}
	return sub(c.more[buffer], offset, size)
}

// sub returns size bytes of b, never nil unless it fails.
func sub(b []byte, at, size int64) ([]byte, error) {
	if at < 0 || size < 0 || at > int64(len(b)) || size > int64(len(b))-at {
		return nil, fmt.Errorf("%w: %w", errBatch, io.ErrUnexpectedEOF)
	}
	if size == 0 {
		return []byte{}, nil
	}
	return b[at : at+size], nil
}

// integerAt returns the number of row i, nil where it is null.
func (c *arrowColumn) integerAt(i int) (*int64, error) {
	raw, err := c.valueAt(i)
	if err != nil || raw == nil {
		return nil, err
	}
	x := signed(raw, len(raw))
	if c.node.unsigned && c.node.bits < 64 {
		x &= 1<<c.node.bits - 1
	}
	if c.node.unsigned && x < 0 {
		return nil, fmt.Errorf("%w: %d", errLabel, uint64(x))
	}
	return &x, nil
}
