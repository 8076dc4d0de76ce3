package flow

import "sync"

// Gate lets so many work at a time; the number may change while they do. Its methods may be called concurrently.
type Gate struct {
	mu      sync.Mutex
	opens   sync.Cond
	limit   int
	running int
	closed  bool
}

// NewGate makes a gate for limit at a time, at least 1.
func NewGate(limit int) *Gate {
	g := &Gate{limit: max(limit, 1)}
	g.opens.L = &g.mu
	return g
}

// Enter waits for a place; false says that the gate is closed, and there is none to Leave.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.running >= g.limit && !g.closed {
		g.opens.Wait()
	}
	if g.closed {
		return false
	}
	g.running++
	return true
}

// Leave gives a place back.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running--
	g.opens.Signal()
}

// Set changes the limit, at least 1. Who is inside beyond it stays until he leaves.
func (g *Gate) Set(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = max(limit, 1)
	g.opens.Broadcast()
}

// Limit is how many may work at a time.
func (g *Gate) Limit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}

// Close lets nobody in any more, nor wait.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.opens.Broadcast()
}
