package shard

import (
	"bufio"
	"errors"
	"io"
)

// Types of Thrift's compact protocol, in which Parquet describes itself.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12

	thriftDepth = 32
)

var errThrift = errors.New("its description is damaged")

// thrift reads Thrift's compact protocol, no more than left bytes of it. Nothing is allocated for what only claims to be
// there. After an error everything reads as zero.
type thrift struct {
	from  *bufio.Reader
	left  int
	depth int
	err   error
}

func (t *thrift) fail(err error) {
	if t.err == nil {
		t.err = noEOF(err)
	}
}

func (t *thrift) byte() byte {
	if t.err == nil && t.left == 0 {
		t.fail(errThrift)
	}
	if t.err != nil {
		return 0
	}
	b, err := t.from.ReadByte()
	if err != nil {
		t.fail(err)
	}
	t.left--
	return b
}

func (t *thrift) uvarint() uint64 {
	var x uint64
	for shift := 0; shift < 64; shift += 7 {
		b := t.byte()
		x |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return x
		}
	}
	t.fail(errThrift)
	return 0
}

// integer reads an i16, i32 or i64.
func (t *thrift) integer() int64 {
	u := t.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// length reads that of a binary.
func (t *thrift) length() int {
	n := t.uvarint()
	if n > uint64(t.left) {
		t.fail(errThrift)
	}
	if t.err != nil {
		return 0
	}
	return int(n)
}

func (t *thrift) text() string {
	n := t.length()
	if t.err != nil {
		return ""
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(t.from, text); err != nil {
		t.fail(err)
	}
	t.left -= n
	return string(text)
}

func (t *thrift) discard(n int) {
	if t.err == nil && n > t.left {
		t.fail(errThrift)
	}
	if t.err != nil {
		return
	}
	if _, err := t.from.Discard(n); err != nil {
		t.fail(err)
	}
	t.left -= n
}

// fields calls read for every field of a struct; what read does not take, it leaves untouched and returns false.
func (t *thrift) fields(read func(id int, kind byte) bool) {
	if t.depth++; t.depth > thriftDepth {
		t.fail(errThrift)
	}
	id := int64(0)
	for t.err == nil {
		head := t.byte()
		if head == 0 {
			break
		}
		if delta := head >> 4; delta > 0 {
			id += int64(delta)
		} else {
			id = t.integer()
		}
		if t.err == nil && !read(int(id), head&15) {
			t.skip(head & 15)
		}
	}
	t.depth--
}

// list calls read for every element of a list or set.
func (t *thrift) list(read func(kind byte)) {
	if t.depth++; t.depth > thriftDepth {
		t.fail(errThrift)
	}
	head := t.byte()
	n := uint64(head >> 4)
	if n == 15 {
		n = t.uvarint()
	}
	for ; n > 0 && t.err == nil; n-- {
		read(head & 15)
	}
	t.depth--
}

// skip passes over a value. Every element of a list takes a byte at least, so that it ends.
func (t *thrift) skip(kind byte) {
	switch kind {
	case thriftTrue, thriftFalse: // the field's head says it
	case thriftByte:
		t.discard(1)
	case thriftI16, thriftI32, thriftI64:
		t.uvarint()
	case thriftDouble:
		t.discard(8)
	case thriftBinary:
		t.discard(t.length())
	case thriftList, thriftSet:
		t.list(t.skipElement)
	case thriftMap:
		t.skipMap()
	case thriftStruct:
		t.fields(func(int, byte) bool { return false })
	default:
		t.fail(errThrift)
	}
}

// skipElement passes over an element, where a bool takes a byte.
func (t *thrift) skipElement(kind byte) {
	if kind == thriftTrue || kind == thriftFalse {
		kind = thriftByte
	}
	t.skip(kind)
}

func (t *thrift) skipMap() {
	n := t.uvarint()
	if n == 0 {
		return
	}
	kinds := t.byte()
	for ; n > 0 && t.err == nil; n-- {
		t.skipElement(kinds >> 4)
		t.skipElement(kinds & 15)
	}
}
