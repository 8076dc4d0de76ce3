package reuse

import (
	"sync"
	"testing"
)

func TestClasses(t *testing.T) {
	last, largest := -1, 0
	for size := least; size <= most; size += 61 {
		class, whole := classOf(size)
		if whole < size || whole > size+size/4 {
			t.Fatalf("%d bytes come in %d", size, whole)
		}
		if class < last || class == last && whole != largest || class != last && whole == largest {
			t.Fatalf("%d bytes are of class %d of %d bytes, those before of class %d of %d", size, class, whole, last, largest)
		}
		if again, same := classOf(whole); again != class || same != whole {
			t.Fatalf("%d bytes are of class %d, as a whole of %d", size, class, again)
		}
		last, largest = class, whole
	}
}

func TestReallocate(t *testing.T) {
	a := New()
	b := a.Allocate(64)
	for _, size := range []int{1000, least - 1, least, least + 1, 100_000, 1 << 20, most, most + 1, 3 * most, 200_000, 100} {
		before := append([]byte(nil), b...)
		if b = a.Reallocate(size, b); len(b) != size {
			t.Fatalf("got %d bytes, want %d", len(b), size)
		}
		for i := range min(size, len(before)) {
			if b[i] != before[i] {
				t.Fatalf("byte %d of %d changed on the way to %d", i, len(before), size)
			}
		}
		for i := range b {
			b[i] = byte(i * size)
		}
	}
	a.Free(b)
}

func TestNobodySharesMemory(t *testing.T) {
	a := New()
	var users sync.WaitGroup
	for user := range 8 {
		users.Go(func() {
			for turn := range 200 {
				b := a.Allocate(least + 1000*(turn%7))
				for i := 0; i < len(b); i += 512 {
					b[i] = byte(user)
				}
				for i := 0; i < len(b); i += 512 {
					if b[i] != byte(user) {
						t.Errorf("user %d's memory was written by %d", user, b[i])
					}
				}
				a.Free(b)
			}
		})
	}
	users.Wait()
}

// What was freed comes again: clearing fresh memory is what costs.
func BenchmarkAllocate(b *testing.B) {
	a := New()
	b.SetBytes(1 << 20)
	for b.Loop() {
		a.Free(a.Allocate(1 << 20))
	}
}
