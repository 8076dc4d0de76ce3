package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

var errValues = errors.New("the values of a page are damaged")

// hybrid reads Parquet's mix of runs and bit-packed groups: levels, and indices into a dictionary.
type hybrid struct {
	b      []byte
	width  int // bits, 0 to 32
	run    int // values left of a run
	value  uint32
	packed int    // values left of bit-packed groups
	bit    int    // of the next of them, in groups
	groups []byte // theirs
}

func bitsFor(highest int) int { return bits.Len(uint(highest)) }

func (h *hybrid) next() (uint32, error) {
	for h.run == 0 && h.packed == 0 {
		if err := h.head(); err != nil {
			return 0, err
		}
	}
	if h.run > 0 {
		h.run--
		return h.value, nil
	}
	h.packed--
	var x uint64
	for i := range (h.bit%8 + h.width + 7) / 8 {
		x |= uint64(h.groups[h.bit/8+i]) << (8 * i)
	}
	x >>= h.bit % 8
	h.bit += h.width
	return uint32(x & (1<<h.width - 1)), nil
}

// head starts a run or bit-packed groups. Each takes a byte at least, so that they end.
func (h *hybrid) head() error {
	head, n := binary.Uvarint(h.b)
	if n <= 0 || head>>1 > maxPageValues {
		return errValues
	}
	h.b = h.b[n:]
	count := int(head >> 1)
	if head&1 == 1 {
		size := min(count*h.width, len(h.b)) // some writers cut the last group
		h.groups, h.b = h.b[:size], h.b[size:]
		h.packed, h.bit = 8*count, 0
		if h.width > 0 {
			h.packed = min(h.packed, 8*size/h.width)
		}
		return nil
	}
	size := (h.width + 7) / 8
	if size > len(h.b) {
		return errValues
	}
	h.value = 0
	for i := range size {
		h.value |= uint32(h.b[i]) << (8 * i)
	}
	h.b, h.run = h.b[size:], count
	return nil
}

// dictionary is the values that a chunk's pages point at.
type dictionary struct {
	body []byte
	ends []uint32 // of byte arrays
	n    int
	size int // bytes of an integer; 0: byte arrays
}

// newDictionary keeps body.
func newDictionary(body []byte, h pageHead, size int) (*dictionary, error) {
	if h.encoding != encodingPlain && h.encoding != encodingPlainDict {
		return nil, fmt.Errorf("a dictionary of encoding %d is not supported", h.encoding)
	}
	d := &dictionary{body: body, n: int(h.values), size: size}
	if h.values > int64(len(body)/4) {
		return nil, errValues // before anything is allocated for them
	}
	if size > 0 {
		if d.n*size > len(body) {
			return nil, errValues
		}
		return d, nil
	}
	d.ends = make([]uint32, d.n)
	at := 0
	for i := range d.ends {
		value, err := byteArray(body[at:])
		if err != nil {
			return nil, err
		}
		at += 4 + len(value)
		d.ends[i] = uint32(at)
	}
	return d, nil
}

func (d *dictionary) value(i uint32) ([]byte, error) {
	if d == nil || int64(i) >= int64(d.n) {
		return nil, errValues
	}
	if d.size > 0 {
		return d.body[int(i)*d.size:][:d.size], nil
	}
	start := uint32(0)
	if i > 0 {
		start = d.ends[i-1]
	}
	return d.body[start+4 : d.ends[i]], nil
}

// byteArray returns the one at the start of b.
func byteArray(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, errValues
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n > int64(len(b)-4) {
		return nil, errValues
	}
	return b[4 : 4+n], nil
}

// chunk reads the values of one column in one row group, in order.
type chunk struct {
	pages
	leaf leaf
	size int // bytes of an integer; 0: byte arrays

	toSkip int64
	body   []byte // of the page
	left   int64  // values of the page
	levels *hybrid
	values []byte  // of the page, plain
	index  *hybrid // of the page, into dict
	dict   *dictionary
}

// skip passes over n values, by pages where it can. It takes effect in next.
func (c *chunk) skip(n int64) { c.toSkip += n }

// next returns a value's bytes, nil where it is null. They hold until the call after. Integers are little-endian.
func (c *chunk) next() ([]byte, error) {
	for {
		for c.left == 0 {
			if err := c.page(); err != nil {
				return nil, noEOF(err)
			}
		}
		value, err := c.value()
		if err != nil || c.toSkip == 0 {
			return value, err
		}
		c.toSkip--
	}
}

// page goes to the next page that is not skipped.
func (c *chunk) page() error {
	for {
		h, err := c.head()
		if err != nil {
			return err
		}
		switch {
		case h.kind == pageDict:
			if err := c.readDict(h); err != nil {
				return err
			}
		case h.kind != pageData && h.kind != pageDataV2:
			err = c.discard(h)
		case h.values <= c.toSkip:
			c.toSkip -= h.values
			err = c.discard(h)
		default:
			return c.readPage(h)
		}
		if err != nil {
			return err
		}
	}
}

func (c *chunk) readDict(h pageHead) (err error) {
	if c.dict != nil {
		return errValues
	}
	body, err := c.read(h, nil)
	if err != nil {
		return err
	}
	c.dict, err = newDictionary(body, h, c.size)
	return err
}

func (c *chunk) readPage(h pageHead) (err error) {
	if c.body, err = c.read(h, c.body); err != nil {
		return err
	}
	if c.levels, c.values, err = h.takeLevels(c.body, c.leaf.maxLevel); err != nil {
		return err
	}
	if c.leaf.maxLevel == 0 {
		c.levels = nil
	}
	c.left, c.index = h.values, nil
	switch h.encoding {
	case encodingPlain:
	case encodingPlainDict, encodingRLEDict:
		if len(c.values) == 0 {
			c.index = &hybrid{} // all null
			break
		}
		if c.values[0] > 32 {
			return errValues
		}
		c.index = &hybrid{b: c.values[1:], width: int(c.values[0])}
	default:
		return fmt.Errorf("values of encoding %d are not supported; write them plain or with a dictionary", h.encoding)
	}
	return nil
}

// value returns the next of the page.
func (c *chunk) value() ([]byte, error) {
	c.left--
	if c.levels != nil {
		level, err := c.levels.next()
		if err != nil {
			return nil, err
		}
		if int(level) > c.leaf.maxLevel {
			return nil, errValues
		}
		if int(level) < c.leaf.maxLevel {
			return nil, nil
		}
	}
	switch {
	case c.index != nil:
		i, err := c.index.next()
		if err != nil {
			return nil, err
		}
		return c.dict.value(i)
	case c.size > 0:
		if len(c.values) < c.size {
			return nil, io.ErrUnexpectedEOF
		}
		value := c.values[:c.size]
		c.values = c.values[c.size:]
		return value, nil
	}
	value, err := byteArray(c.values)
	if err != nil {
		return nil, err
	}
	c.values = c.values[4+len(value):]
	return value, nil
}
