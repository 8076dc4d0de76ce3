package shard

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	maxPageHead = 4 << 20 // bytes; statistics may hold two values
	chunkBuffer = 64 << 10
	// maxPageValues keeps a page of a few bytes from keeping a reader busy for hours.
	maxPageValues = 16 << 20
)

// Page types and encodings.
const (
	pageData   = 0
	pageDict   = 2
	pageDataV2 = 3

	encodingPlain     = 0
	encodingPlainDict = 2
	encodingRLE       = 3
	encodingRLEDict   = 8
)

// pageHead is what stands before a page's bytes.
type pageHead struct {
	kind             int
	plain, packed    int64 // bytes
	crc              *uint32
	values           int64
	encoding         int
	levels           int   // encoding of definition levels, of a first version's page
	defBytes, repLen int64 // of a second version's page
	uncompressed     bool  // the values of a second version's page, whatever the chunk's codec
}

func readPageHead(from *bufio.Reader) (h pageHead, err error) {
	t := &thrift{from: from, left: maxPageHead}
	h.kind = -1
	t.fields(func(id int, kind byte) bool {
		switch {
		case id == 1 && kind == thriftI32:
			h.kind = int(t.integer())
		case id == 2 && kind == thriftI32:
			h.plain = t.integer()
		case id == 3 && kind == thriftI32:
			h.packed = t.integer()
		case id == 4 && kind == thriftI32:
			h.crc = new(uint32(t.integer()))
		case (id == 5 || id == 7) && kind == thriftStruct:
			t.fields(func(id int, kind byte) bool { return h.readFirst(t, id, kind) })
		case id == 8 && kind == thriftStruct:
			t.fields(func(id int, kind byte) bool { return h.readSecond(t, id, kind) })
		default:
			return false
		}
		return true
	})
	return h, t.err
}

// readFirst reads a field of the first version's head of a data page, or of a dictionary's.
func (h *pageHead) readFirst(t *thrift, id int, kind byte) bool {
	if kind != thriftI32 {
		return false
	}
	switch id {
	case 1:
		h.values = t.integer()
	case 2:
		h.encoding = int(t.integer())
	case 3:
		h.levels = int(t.integer())
	default:
		return false
	}
	return true
}

func (h *pageHead) readSecond(t *thrift, id int, kind byte) bool {
	if id == 7 && (kind == thriftTrue || kind == thriftFalse) {
		h.uncompressed = kind == thriftFalse
		return true
	}
	if kind != thriftI32 {
		return false
	}
	switch id {
	case 1:
		h.values = t.integer()
	case 4:
		h.encoding = int(t.integer())
	case 5:
		h.defBytes = t.integer()
	case 6:
		h.repLen = t.integer()
	default:
		return false
	}
	return true
}

// check refuses what claims too much.
func (h pageHead) check(limit int64) error {
	switch {
	case h.plain < 0 || h.packed < 0 || h.values < 0 || h.defBytes < 0 || h.repLen < 0 || h.defBytes+h.repLen > min(h.plain, h.packed):
		return fmt.Errorf("%w: the head of a page", errThrift)
	case h.plain > limit || h.packed > limit+limit/8:
		return fmt.Errorf("a page of %d bytes, %d packed, is over the limit of %d; write smaller pages or row groups",
			h.plain, h.packed, limit)
	case h.values > maxPageValues:
		return fmt.Errorf("a page of %d values is over the limit of %d; write smaller pages", h.values, maxPageValues)
	}
	return nil
}

// pages reads the pages of a column chunk, one after another.
type pages struct {
	from   *bufio.Reader
	close  func() error // nil: nothing to close
	codec  codec
	limit  int64
	unpack *unpacker

	packed []byte
}

// shut ends the reading of a chunk.
func (p *pages) shut() {
	if p.close != nil {
		_ = p.close() // only read
		p.close = nil
	}
}

// head reads the next page's; io.EOF at the end of the chunk.
func (p *pages) head() (pageHead, error) {
	if _, err := p.from.Peek(1); err != nil {
		return pageHead{}, err
	}
	h, err := readPageHead(p.from)
	if err != nil {
		return h, err
	}
	return h, h.check(p.limit)
}

// discard passes over the bytes of a page.
func (p *pages) discard(h pageHead) error {
	_, err := p.from.Discard(int(h.packed))
	return noEOF(err)
}

// read returns the unpacked bytes of a page, in dst, a longer one or what it was packed in; dst is its own from then on.
func (p *pages) read(h pageHead, dst []byte) ([]byte, error) {
	packed, err := readGrowing(p.from, p.packed, int(h.packed))
	if err != nil {
		return dst, err
	}
	p.packed = packed
	if h.crc != nil && crc32.ChecksumIEEE(packed) != *h.crc {
		return dst, errors.New("the checksum of a page does not match")
	}
	codec := p.codec
	if h.uncompressed {
		codec = codecNone
	}
	if codec == codecNone && h.packed == h.plain {
		p.packed = dst
		return packed, nil
	}
	dst = resize(dst, int(h.plain))
	levels := 0
	if h.kind == pageDataV2 { // their levels stand before the values and are never compressed
		levels = int(h.defBytes + h.repLen)
		copy(dst[:levels], packed)
	}
	if levels == len(dst) && levels == len(packed) {
		return dst, nil // all of it are levels
	}
	return dst, p.unpack.unpack(codec, dst[levels:], packed[levels:])
}

// readGrowing reads n bytes into b. It takes memory only for what has come, and as much again.
func readGrowing(from io.Reader, b []byte, n int) ([]byte, error) {
	const step = 4 << 20
	b = b[:0]
	for len(b) < n {
		start := len(b)
		end := min(n, max(cap(b), 2*start, step))
		if end > cap(b) {
			b = append(make([]byte, 0, end), b...)
		}
		b = b[:end]
		if _, err := io.ReadFull(from, b[start:]); err != nil {
			return b[:0], noEOF(err)
		}
	}
	return b, nil
}

func resize(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// levels takes the definition levels off the front of a page's bytes.
func (h pageHead) takeLevels(body []byte, maxLevel int) (*hybrid, []byte, error) {
	if h.kind == pageDataV2 {
		from, to := h.repLen, h.repLen+h.defBytes
		levels := &hybrid{b: body[from:to], width: bitsFor(maxLevel)}
		return levels, body[to:], nil
	}
	if maxLevel == 0 {
		return nil, body, nil
	}
	if h.levels != encodingRLE {
		return nil, nil, fmt.Errorf("definition levels of encoding %d are not supported", h.levels)
	}
	if len(body) < 4 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	n := int64(binary.LittleEndian.Uint32(body))
	if n > int64(len(body)-4) {
		return nil, nil, io.ErrUnexpectedEOF
	}
	return &hybrid{b: body[4 : 4+n], width: bitsFor(maxLevel)}, body[4+n:], nil
}
