// Package reuse is memory for records that goes round: what a record gives back is the next one's. Fresh memory has to be
// cleared and brought into the processor's caches, which costs a fast source as much as the bytes that it reads.
package reuse

import (
	"math/bits"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

const (
	least = 32 << 10 // bytes; what is smaller is cheap
	most  = 16 << 20 // bytes; what is larger is not kept
	steps = 4        // classes between a power of two and the next
)

// Allocator is a memory.Allocator over Go's heap. Pieces of 32 KiB to 16 MiB are used again, and hold what was in them
// before: as ever in Arrow, nobody may look at memory that was released. What the garbage collector meets unused is its.
// Methods may be called concurrently.
type Allocator struct {
	fresh memory.GoAllocator
	kept  [65 * steps]sync.Pool // of *[]byte, by class
}

var _ memory.Allocator = (*Allocator)(nil)

// New returns an allocator that keeps nothing yet.
func New() *Allocator { return &Allocator{} }

// Allocate implements memory.Allocator.
func (a *Allocator) Allocate(size int) []byte {
	if size < least || size > most {
		return a.fresh.Allocate(size)
	}
	class, whole := classOf(size)
	if b, ok := a.kept[class].Get().(*[]byte); ok {
		return (*b)[:size]
	}
	return make([]byte, size, whole) // Go aligns large pieces to pages
}

// Reallocate implements memory.Allocator.
func (a *Allocator) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) && size > cap(b)/2 {
		return b[:size]
	}
	grown := a.Allocate(size)
	copy(grown, b)
	a.Free(b)
	return grown
}

// Free implements memory.Allocator.
func (a *Allocator) Free(b []byte) {
	b = b[:cap(b)]
	if len(b) < least || len(b) > most {
		return
	}
	if class, whole := classOf(len(b)); whole == len(b) {
		a.kept[class].Put(&b)
	}
}

// classOf returns the class of pieces for size bytes, and how large they are: at most a quarter more.
func classOf(size int) (class, whole int) {
	power := bits.Len(uint(size - 1)) // size <= 1<<power
	step := 1 << (power - 1) / steps
	part := (size - 1<<(power-1) + step - 1) / step // 1..steps
	return power*steps + part - 1, 1<<(power-1) + part*step
}
