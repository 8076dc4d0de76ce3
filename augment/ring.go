package augment

import (
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// ring is a fixed set of pixel buffers, each big enough for all views of one batch. A buffer is taken from free, filled,
// and comes back when the last reference to it is released, be that after the ring was closed.
type ring struct {
	mem  memory.Allocator
	free chan []byte

	mu     sync.Mutex
	closed bool
}

func newRing(mem memory.Allocator, depth, bytes int) *ring {
	r := &ring{mem: mem, free: make(chan []byte, depth)}
	for range depth {
		r.free <- mem.Allocate(bytes)
	}
	return r
}

// put takes a buffer back. It never blocks: there are no more buffers than the channel holds.
func (r *ring) put(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.mem.Free(b)
		return
	}
	r.free <- b
}

// close frees the idle buffers; those in use are freed as they come back.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for len(r.free) > 0 {
		r.mem.Free(<-r.free)
	}
}

// buffer makes b an Arrow buffer that goes back to the ring with its last reference.
func (r *ring) buffer(b []byte) *memory.Buffer { return memory.NewBufferWithAllocator(b, returner{r}) }

// returner is what an Arrow buffer calls to free its memory. The buffers are immutable for Arrow, so that is all it calls.
type returner struct{ ring *ring }

var _ memory.Allocator = returner{}

func (r returner) Free(b []byte) { r.ring.put(b) }

func (returner) Allocate(int) []byte {
	panic("augment: a ring's buffer cannot be allocated through Arrow")
}

func (returner) Reallocate(int, []byte) []byte {
	panic("augment: a ring's buffer has a fixed size")
}

// layout says where the views of a batch lie in a buffer: view after view, each starting at a multiple of 64 bytes.
type layout struct {
	views, batch, size int
}

func (l layout) image() int  { return l.size * l.size * 3 }
func (l layout) stride() int { return (l.batch*l.image() + 63) &^ 63 }
func (l layout) bytes() int  { return l.views * l.stride() }

// view returns the pixels of a row's view. Its capacity ends with it, so that no renderer reaches into the next.
func (l layout) view(b []byte, view, row int) []byte {
	start := view*l.stride() + row*l.image()
	return b[start : start+l.image() : start+l.image()]
}
