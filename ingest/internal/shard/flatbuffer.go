package shard

import (
	"encoding/binary"
	"errors"
)

var errFlat = errors.New("the description of a message is damaged")

// flatBuffer reads the format in which Arrow describes its messages. Nothing is trusted and nothing copied; after an error
// everything reads as zero.
type flatBuffer struct {
	b   []byte
	err error
}

// bytes returns n of them at a position.
func (f *flatBuffer) bytes(at, n int) []byte {
	if f.err != nil || at < 0 || n < 0 || at > len(f.b) || n > len(f.b)-at {
		f.fail()
		return make([]byte, min(max(n, 0), 16))
	}
	return f.b[at : at+n]
}

func (f *flatBuffer) fail() {
	if f.err == nil {
		f.err = errFlat
	}
}

func (f *flatBuffer) u32(at int) int { return int(binary.LittleEndian.Uint32(f.bytes(at, 4))) }

func (f *flatBuffer) root() flatTable { return flatTable{f, f.u32(0)} }

// flatTable is a table; at 0 there is none, and all its fields are absent.
type flatTable struct {
	f  *flatBuffer
	at int
}

func (t flatTable) exists() bool { return t.at > 0 && t.f.err == nil }

// field returns where field i lies, 0 where it is absent.
func (t flatTable) field(i int) int {
	if !t.exists() {
		return 0
	}
	fields := t.at - int(int32(t.f.u32(t.at)))
	size := int(binary.LittleEndian.Uint16(t.f.bytes(fields, 2)))
	if 4+2*i+2 > size {
		return 0
	}
	offset := int(binary.LittleEndian.Uint16(t.f.bytes(fields+4+2*i, 2)))
	if offset == 0 || t.f.err != nil {
		return 0
	}
	return t.at + offset
}

// integer reads a field of so many bytes, 0 where it is absent.
func (t flatTable) integer(i, size int) int64 {
	at := t.field(i)
	if at == 0 {
		return 0
	}
	return signed(t.f.bytes(at, size), size)
}

func (t flatTable) table(i int) flatTable {
	at := t.field(i)
	if at == 0 {
		return flatTable{t.f, 0}
	}
	return flatTable{t.f, at + t.f.u32(at)}
}

func (t flatTable) text(i int) string {
	start, n := t.vector(i, 1)
	return string(t.f.bytes(start, n))
}

// vector returns where the elements of size bytes lie and how many there are.
func (t flatTable) vector(i, size int) (start, n int) {
	at := t.field(i)
	if at == 0 {
		return 0, 0
	}
	at += t.f.u32(at)
	n = t.f.u32(at)
	if n*size > len(t.f.b) {
		t.f.fail()
		return 0, 0
	}
	t.f.bytes(at+4, n*size)
	return at + 4, n
}

// element returns table j of a vector of tables.
func (t flatTable) element(start, j int) flatTable {
	at := start + 4*j
	return flatTable{t.f, at + t.f.u32(at)}
}

// signed is a little-endian number of 1, 2, 4 or 8 bytes.
func signed(b []byte, size int) int64 {
	switch size {
	case 1:
		return int64(int8(b[0]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}
