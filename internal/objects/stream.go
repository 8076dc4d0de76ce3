package objects

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is after how many bytes Stream looks whether its request keeps up.
	lookEvery = 4 << 20
	// fastEnough is the bytes per second of all reads of a client above which more requests would hardly bring more.
	fastEnough = 250e6
	// wideReads is how many reads of a client go by parts at a time: every part that is ahead of its reader costs memory.
	wideReads = 2
	// wideFor is how long objects are read by parts from the start once one request did not keep up.
	wideFor = time.Minute
)

// pace is what the reads of a client know of its server's speed.
type pace struct {
	look      int64   // lookEvery, less in tests
	enough    float64 // fastEnough, more in tests
	wide      chan struct{}
	wideUntil *atomic.Int64 // Unix time in nanoseconds
}

func newPace() pace {
	return pace{look: lookEvery, enough: fastEnough, wide: make(chan struct{}, wideReads), wideUntil: new(atomic.Int64)}
}

// enter takes a place among the reads by parts; false if there is none.
func (p pace) enter() bool {
	select {
	case p.wide <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p pace) leave() { <-p.wide }

// Stream is Get for an object that is read through: by one request as long as that keeps up with the reader, and as
// GetParallel does while it does not. Of all that a client reads, two objects at a time go by parts.
func (c *Client) Stream(ctx context.Context, bucket string, o Object, from, partSize int64, parts int) (io.ReadCloser, error) {
	if partSize <= 0 || parts <= 0 {
		return nil, fmt.Errorf("read %s: want parts of at least one byte, got %d of %d bytes", URL(bucket, o.Key), parts, partSize)
	}
	s := &steady{c: c, ctx: ctx, bucket: bucket, object: o, partSize: partSize, parts: parts}
	if parts > 1 && o.Size-from > partSize && time.Now().UnixNano() < c.pace.wideUntil.Load() && c.pace.enter() {
		wide, err := c.GetParallel(ctx, bucket, o, from, partSize, parts)
		if err != nil {
			c.pace.leave()
			return nil, err
		}
		s.ReadCloser, s.entered = wide, true
		return s, nil
	}
	one, err := c.Get(ctx, bucket, o, from)
	if err != nil {
		return nil, err
	}
	s.ReadCloser = one
	if parts > 1 {
		s.one = one.(*reader)
		s.begin()
	}
	return s, nil
}

// steady is an object read by one request, or by several.
type steady struct {
	io.ReadCloser
	c        *Client
	ctx      context.Context
	bucket   string
	object   Object
	partSize int64
	parts    int
	one      *reader // while it may be given up for parts
	entered  bool    // a place among the reads by parts, to be left

	since  time.Time     // of the look before
	at     int64         // position then
	total  uint64        // bytes of all reads then
	waited time.Duration // for bytes, since then
}

func (s *steady) begin() {
	s.since, s.at, s.total, s.waited = time.Now(), s.one.pos, s.c.bytes.Load(), 0
}

// Read implements io.Reader.
func (s *steady) Read(p []byte) (int, error) {
	if s.one == nil {
		return s.ReadCloser.Read(p)
	}
	start := time.Now()
	n, err := s.one.Read(p)
	s.waited += time.Since(start)
	if err == nil && s.one.pos-s.at >= s.c.pace.look {
		if s.slow() {
			s.widen()
		} else {
			s.begin()
		}
	}
	return n, err
}

// slow says that the reader waits for the network, which could bring more.
func (s *steady) slow() bool {
	took := time.Since(s.since)
	return s.waited > took/2 && float64(s.c.bytes.Load()-s.total) < s.c.pace.enough*took.Seconds()
}

// widen goes on by parts, where there is enough left for them and a place.
func (s *steady) widen() {
	one := s.one
	if one.end-one.pos <= s.partSize || !s.c.pace.enter() {
		s.begin()
		return
	}
	s.entered, s.one = true, nil
	s.c.pace.wideUntil.Store(time.Now().Add(wideFor).UnixNano())
	s.ReadCloser = s.c.parallel(s.ctx, s.bucket, s.object, one.pos, s.partSize, s.parts, one.check)
	one.Close() // what it still sends is lost, and its connection
}

// Close implements io.Closer.
func (s *steady) Close() error {
	err := s.ReadCloser.Close()
	s.one = nil
	if s.entered {
		s.entered = false
		s.c.pace.leave()
	}
	return err
}
