package s3

import (
	"context"
	"fmt"
	"time"

	"mocostream/internal/objects"
)

// publishEvery is how many new objects are made durable at a time while a scan goes on.
const publishEvery = 1000

// watch scans until ctx ends or a scan fails.
func (f *Follow) watch(ctx context.Context) error {
	for {
		if err := f.scan(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, f.Interval); err != nil {
			return err
		}
	}
}

// scan is one listing of the prefix.
type scan struct {
	*Follow
	known  *known
	newest int64 // seconds
	late   uint64
	later  string // one that came too late
	added  int
}

func (f *Follow) scan(ctx context.Context) error {
	k, err := openKnown(f.StateDir)
	if err != nil {
		return err
	}
	defer k.close()
	s := &scan{Follow: f, known: k, newest: max(0, f.catalog.state.horizon)}
	for o, err := range f.access.list(ctx, f.prefix) {
		if err == nil && f.wants(o.Key) {
			err = s.take(o)
		}
		if err != nil {
			return err
		}
	}
	if err := s.finish(); err != nil {
		return err
	}
	return f.catalog.compact()
}

// take decides whether a listed object is new.
func (s *scan) take(o objects.Object) error {
	c := s.catalog
	seconds := o.Modified.Unix()
	s.newest = max(s.newest, seconds)
	p := printOf(o.Key, o.ETag)
	last, remembered := c.seen[p]
	old, listed := seconds < c.state.horizon, false
	if old {
		var err error
		if listed, err = s.known.take(o.Key); err != nil {
			return err
		}
	}
	switch {
	case remembered && clampSeconds(seconds) > last, !remembered && !old && !c.state.begun:
		return c.add(seenPayload(p, seconds))
	case remembered || listed:
		return nil
	case old:
		if s.known.had {
			s.late++
			s.later = o.Key
		}
		return nil
	}
	if err := c.add(objectPayload(found{Object: o, ordinal: c.next})); err != nil {
		return err
	}
	if s.added++; s.added%publishEvery == 0 {
		return c.commit()
	}
	return nil
}

// finish makes the scan count. A crash between its steps can have late objects counted twice, but not left out.
func (s *scan) finish() error {
	c := s.catalog
	if s.late > 0 {
		s.counters.late.Add(s.late)
		s.warn(fmt.Sprintf("%d objects of %s came later than ingest.s3.follow_lateness (%s) allows and are not read, %s among them; "+
			"raise it if writers take longer", s.late, s.source, s.Lateness, s.url(s.later)))
	}
	next := c.state
	next.late += s.late
	if err := s.record(next); err != nil {
		return err
	}
	if err := s.known.replace(); err != nil {
		return err
	}
	newest := min(s.newest, time.Now().Unix()) // a clock that is wrong may not make all that follows late
	next.begun = true
	next.forget = next.horizon
	next.horizon = max(next.horizon, newest-int64(s.Lateness/time.Second))
	if err := s.record(next); err != nil {
		return err
	}
	c.forget()
	c.seenCount.Store(int64(len(c.seen)))
	return nil
}

// record stores a new state, and what was found before it.
func (s *scan) record(next state) error {
	if next != s.catalog.state {
		if err := s.catalog.add(statePayload(next)); err != nil {
			return err
		}
	}
	return s.catalog.commit()
}
