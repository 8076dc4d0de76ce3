package augment

import (
	"testing"

	"mocostream/ingest"
)

// Vectors of the Random123 distribution, kat_vectors, "philox4x32 10".
func TestPhiloxKnownAnswers(t *testing.T) {
	const all = 0xffffffff
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			[2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		if got := philox4x32(c.counter, c.key); got != c.want {
			t.Errorf("philox4x32(%x, %x) = %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

func TestPhiloxSourceOrder(t *testing.T) {
	p := &philox{}
	want := []uint64{0xe169c58d6627e8d5, 0x9b00dbd8bc57ac4c}
	for i, w := range want {
		if got := p.Uint64(); got != w {
			t.Errorf("number %d: %x, want %x", i, got, w)
		}
	}
	next := philox4x32([4]uint32{1}, [2]uint32{})
	if got := p.Uint64(); got != uint64(next[1])<<32|uint64(next[0]) {
		t.Errorf("number 2: %x is not of block 1", got)
	}
}

// Runs go on over releases of the program: the numbers of a key may never change.
func TestKeyGolden(t *testing.T) {
	k := NewKey(42, 3, ingest.ID{Source: "manifest", Partition: 1, Offset: 7, Item: 2})
	want := [2][2]uint64{{0x43f893d532f84414, 0x4ded18947f4c3447}, {0x1045af4e67289e3f, 0xf739cef5b2a7d475}}
	for view, numbers := range want {
		r := k.Rand(view)
		for i, w := range numbers {
			if got := r.Uint64(); got != w {
				t.Errorf("view %d, number %d: %#x, want %#x", view, i, got, w)
			}
		}
	}
}

func TestKeysDiffer(t *testing.T) {
	id := ingest.ID{Source: "a", Partition: 1, Offset: 2, Item: 3}
	with := func(change func(*ingest.ID)) ingest.ID { c := id; change(&c); return c }
	base := NewKey(1, 2, id)
	keys := map[string]Key{
		"base":      base,
		"seed":      NewKey(2, 2, id),
		"epoch":     NewKey(1, 3, id),
		"source":    NewKey(1, 2, with(func(i *ingest.ID) { i.Source = "b" })),
		"partition": NewKey(1, 2, with(func(i *ingest.ID) { i.Partition = 2 })),
		"offset":    NewKey(1, 2, with(func(i *ingest.ID) { i.Offset = 1 })),
		"item":      NewKey(1, 2, with(func(i *ingest.ID) { i.Item = 0 })),
		"draw":      base.Draw(1),
		"late draw": base.Draw(1 << 40),
	}
	seen := map[uint64]string{}
	for name, k := range keys {
		for view := range 2 {
			n := k.Rand(view).Uint64()
			if other, ok := seen[n]; ok {
				t.Errorf("%s, view %d has the numbers of %s", name, view, other)
			}
			seen[n] = name
		}
	}
	if base.Draw(0) != base {
		t.Error("drawing 0 is not the key itself")
	}
}

func TestGeneratorsStartAnewAndDoNotAllocate(t *testing.T) {
	g := NewGenerators(2)
	id := ingest.ID{Source: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
	for offset := range int64(3) {
		id.Offset = offset
		k := NewKey(9, 0, id)
		g.Reset(k)
		for _, view := range []int{0, 1, 0} {
			mine, fresh := g.Rand(view), k.Rand(view)
			for range 5 {
				if a, b := mine.Uint64(), fresh.Uint64(); a != b {
					t.Fatalf("sample %d, view %d: %x, Key.Rand has %x", offset, view, a, b)
				}
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		g.Reset(NewKey(9, 1, id))
		g.Rand(0).Float32()
		g.Rand(1).NormFloat64()
	}); n != 0 {
		t.Errorf("%v allocations a sample", n)
	}
}

func TestPhiloxMoments(t *testing.T) {
	r := NewKey(1, 0, ingest.ID{}).Rand(0)
	const n = 1 << 16
	var sum, squares float64
	for range n {
		v := r.Float64() - 0.5
		sum, squares = sum+v, squares+v*v
	}
	if mean := sum / n; mean < -0.005 || mean > 0.005 { // 4.4 standard errors
		t.Errorf("mean is off by %v", mean)
	}
	if v := squares / n; v < 1./12-0.0015 || v > 1./12+0.0015 {
		t.Errorf("variance %v, want 1/12", v)
	}
}

func BenchmarkNewKey(b *testing.B) {
	g := NewGenerators(2)
	id := ingest.ID{Source: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
	b.ReportAllocs()
	for b.Loop() {
		id.Offset++
		g.Reset(NewKey(1, 2, id))
		g.Rand(0).Uint64()
	}
}
