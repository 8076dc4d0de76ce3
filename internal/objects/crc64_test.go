package objects_test

import (
	"bytes"
	"hash/crc64"
	"testing"

	"mocostream/internal/objects"
)

func TestNVMe(t *testing.T) {
	h := objects.NewNVMe()
	h.Write([]byte("123456789"))
	if got := h.Sum(nil); !bytes.Equal(got, []byte{0xae, 0x8b, 0x14, 0x86, 0x0a, 0x79, 0x98, 0x88}) { // the catalogue's check value
		t.Errorf("got %x", got)
	}
	table := crc64.MakeTable(0x9a6c9329ac4bc9b5)
	data := noise(3000)
	for _, sizes := range [][]int{{0}, {63}, {64}, {255}, {256}, {257}, {319, 320, 1, 300}, {1000, 7, 1993}, {3000}} {
		h, want, rest := objects.NewNVMe(), crc64.New(table), data
		for _, n := range sizes {
			h.Write(rest[:n])
			want.Write(rest[:n])
			rest = rest[n:]
		}
		if got := h.Sum(nil); !bytes.Equal(got, want.Sum(nil)) {
			t.Errorf("%v bytes: got %x, want %x", sizes, got, want.Sum(nil))
		}
	}
	for from := range 64 { // alignments
		h, want := objects.NewNVMe(), crc64.New(table)
		h.Write(data[from:])
		want.Write(data[from:])
		if got := h.Sum(nil); !bytes.Equal(got, want.Sum(nil)) {
			t.Errorf("from byte %d: got %x, want %x", from, got, want.Sum(nil))
		}
	}
}

func BenchmarkNVMe(b *testing.B) {
	data := noise(64 << 10)
	b.SetBytes(int64(len(data)))
	h := objects.NewNVMe()
	for b.Loop() {
		h.Write(data)
	}
}
