package kafka

import (
	"testing"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

func TestPool(t *testing.T) {
	room := int64(1 << 20)
	p := newPool(func() int64 { return room })
	first := p.Allocate(300_000)
	first[0] = 7
	p.Free(first)
	if again := p.Allocate(299_999); again[0] != 7 || len(again) != 299_999 {
		t.Error("a block that was given back is not used again")
	} else if grown := p.Reallocate(cap(again), again); &grown[0] != &again[0] {
		t.Error("a block is copied within its own size")
	} else if larger := p.Reallocate(600_000, grown); larger[0] != 7 || len(larger) != 600_000 {
		t.Error("a block that grows loses what it holds")
	}
	if p.bytes != int64(classOf(300_000)) {
		t.Errorf("%d bytes are kept after a block was left for a larger one", p.bytes)
	}
	small := p.Allocate(leastPooled - 1)
	p.Free(small)
	if len(p.kept) != 1 {
		t.Error("a small block is kept")
	}
	room = 0
	if p.Allocate(leastPooled); p.bytes != 0 {
		t.Errorf("%d bytes are kept where there is room for none", p.bytes)
	}
	room = 1 << 40
	for range mostKept + 1 {
		p.Free(make([]byte, leastPooled))
	}
	if len(p.kept) != mostKept || p.bytes != mostKept*leastPooled {
		t.Errorf("%d blocks of %d bytes in all are kept", len(p.kept), p.bytes)
	}
	p.close()
	p.Free(make([]byte, leastPooled))
	if p.bytes != 0 || len(p.kept) != 0 {
		t.Error("a pool that is closed keeps something")
	}
}

func TestPoolClasses(t *testing.T) {
	for _, size := range []int{leastPooled, leastPooled + 1, 990_000, 1 << 20, 1<<20 + 1, 20_000_000, 1<<30 + 1} {
		class := classOf(size)
		if class < size || class-size > size/8 || classOf(class) != class {
			t.Errorf("a block of %d is one of %d, and that one of %d", size, class, classOf(class))
		}
	}
}

// TestRecordsOutlivePool reads the strings of a record after its memory went to the next one.
func TestRecordsOutlivePool(t *testing.T) {
	p := newPool(func() int64 { return 1 << 30 })
	b := ingest.NewBuilder(p)
	defer b.Release()
	image := make([]byte, 2*leastPooled)
	b.Append(ingest.Row{ID: ingest.ID{Source: "kafka:here"}, Key: "first"}, image)
	rec := b.Record()
	row := rowOf(rec, 0)
	rec.Release()
	if len(p.kept) == 0 {
		t.Fatal("the image's memory is not kept")
	}
	b.Append(ingest.Row{ID: ingest.ID{Source: "kafka:elsewhere"}, Key: "second"}, image)
	if len(p.kept) != 0 {
		t.Error("the image's memory is not used again")
	}
	if row.Key != "first" || row.Source != "kafka:here" {
		t.Errorf("strings changed to %q and %q", row.Key, row.Source)
	}
}

// BenchmarkChunk makes records as large as the reader hands out, from either kind of memory.
func BenchmarkChunk(b *testing.B) {
	image := make([]byte, 110_000)
	for name, mem := range map[string]memory.Allocator{"heap": memory.NewGoAllocator(), "pool": newPool(func() int64 { return 64 << 20 })} {
		b.Run(name, func(b *testing.B) {
			builder := ingest.NewBuilder(mem)
			defer builder.Release()
			b.SetBytes(9 * int64(len(image)))
			for b.Loop() {
				builder.Grow(chunkBytes)
				for range 9 {
					builder.Append(ingest.Row{}, image)
				}
				builder.Record().Release()
			}
		})
	}
}
