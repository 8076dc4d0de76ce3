package kafka

import (
	"math/bits"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

const (
	// leastPooled is the smallest block that is kept, in bytes. What holds text is smaller: that is left to Go's heap, where
	// a string may outlive its record.
	leastPooled = 64 << 10
	// mostKept is how many blocks are kept at most, since they are searched one after the other.
	mostKept = 256
)

// pool is memory of answers and of records' images, used again rather than cleared and collected: at a gigabyte a second
// that is half of the work. It keeps no more than room for. Methods may be called concurrently; records handed out call
// Free when they are released, also after the reader's end.
type pool struct {
	heap memory.Allocator
	room func() int64 // bytes that may be kept now

	mu     sync.Mutex
	kept   [][]byte // the newest, which caches still hold, last
	bytes  int64    // of kept
	closed bool
}

var _ memory.Allocator = (*pool)(nil)

func newPool(room func() int64) *pool {
	return &pool{heap: memory.NewGoAllocator(), room: room}
}

// classOf rounds the size of a block up by at most an eighth, so that blocks fit again.
func classOf(size int) int {
	step := 1 << max(0, bits.Len(uint(size-1))-4)
	return (size + step - 1) / step * step
}

// Allocate implements memory.Allocator. What a block holds at first is anything.
func (p *pool) Allocate(size int) []byte {
	if size < leastPooled {
		return p.heap.Allocate(size)
	}
	class := classOf(size)
	if block := p.take(class); block != nil {
		return block[:size]
	}
	return p.heap.Allocate(class)[:size]
}

// take returns a block of a class, or nil; then what others will not have room for is given up.
func (p *pool) take(class int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.kept) - 1; i >= 0; i-- {
		if block := p.kept[i]; cap(block) == class {
			p.kept = slices.Delete(p.kept, i, i+1)
			p.bytes -= int64(class)
			return block
		}
	}
	p.trim(p.room())
	return nil
}

// Reallocate implements memory.Allocator.
func (p *pool) Reallocate(size int, block []byte) []byte {
	if size <= cap(block) {
		return block[:size]
	}
	larger := p.Allocate(size)
	copy(larger, block)
	p.Free(block)
	return larger
}

// Free implements memory.Allocator.
func (p *pool) Free(block []byte) {
	size := cap(block)
	if size < leastPooled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.kept = append(p.kept, block[:0])
	p.bytes += int64(size)
	p.trim(p.room())
}

// trim gives up the oldest blocks until no more than bytes are kept. It is called with mu held.
func (p *pool) trim(bytes int64) {
	n := 0
	for ; n < len(p.kept) && (p.bytes > bytes || len(p.kept)-n > mostKept); n++ {
		p.bytes -= int64(cap(p.kept[n]))
	}
	p.kept = slices.Delete(p.kept, 0, n)
}

// close gives up everything, also what comes later.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept, p.bytes, p.closed = nil, 0, true
}
