package flow

import (
	"sync"
	"time"
)

// Clock adds up how long something goes on, spans that have not ended and those of several goroutines included. Its zero
// value is ready for use, its methods may be called concurrently.
type Clock struct {
	mu     sync.Mutex
	epoch  time.Time     // of the first Begin
	sum    time.Duration // ends less begins, counted from epoch
	active int           // spans that have not ended
}

// Begin starts a span; every one is followed by an End.
func (c *Clock) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.epoch.IsZero() {
		c.epoch = now
	}
	c.sum -= now.Sub(c.epoch)
	c.active++
}

// End ends a span.
func (c *Clock) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum += time.Since(c.epoch)
	c.active--
}

// Total is the length of all spans together as of now.
func (c *Clock) Total() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active == 0 {
		return c.sum
	}
	return c.sum + time.Duration(c.active)*time.Since(c.epoch)
}

// Active is the number of spans that go on.
func (c *Clock) Active() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}
