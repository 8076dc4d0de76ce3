package loader

import (
	"context"

	"github.com/apache/arrow/go/v17/arrow"
)

// entry is a sample between the start of its reading and its handing out.
type entry struct {
	slot
	read   int64        // its place in the order of reading
	bytes  int64        // reserved while it is read, its own after
	record arrow.Record // one row; nil while it is read
	err    error
}

// shelf holds samples between reading and handing out, within the budget. Samples are admitted in the order of reading
// and taken in that of training. Where a shuffle buffer is larger than the budget, some of the samples that come later
// are put down again, and read by themselves when it is their turn.
type shelf struct {
	*budget
	origin  *origin
	span    func() int64 // how far reading may run ahead of handing out, in samples
	entries map[int64]*entry
	reading int            // of entries: those that are being read
	next    int64          // place of the first read not admitted yet
	done    int64          // places that are handed out, whichever they are
	largest int64          // bytes of the largest sample of late; it fades, so that one monster does not count for ever
	blocked bool           // admission waits for bytes
	urgent  bool           // take needs bytes now: admission holds still
	early   map[int64]bool // handed out before admission came to them
}

func newShelf(o *origin, span func() int64) *shelf {
	return &shelf{budget: o.budget, origin: o, span: span, entries: map[int64]*entry{}, early: map[int64]bool{}}
}

// admit waits until e may be read, which is when bytes for it are free and handing out is near enough; false says that
// it is handed out already. It is called in the order of reading.
func (s *shelf) admit(ctx context.Context, e *entry) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = e.read
	if err := s.wait(ctx, &s.origin.meter.aheadWait, func() bool { return e.read < s.done+s.span() }); err != nil {
		return false, err
	}
	if err := s.afford(ctx, e); err != nil {
		return false, err
	}
	s.next = e.read + 1
	if s.early[e.read] {
		delete(s.early, e.read)
		return false, nil
	}
	e.bytes = s.reservation(e.bytes)
	s.held += e.bytes
	s.entries[e.read] = e
	s.reading++
	return true, nil
}

// afford waits until bytes for e are free, or not needed any more. mu is held.
func (s *shelf) afford(ctx context.Context, e *entry) error {
	ok := func() bool {
		return s.early[e.read] || !s.urgent && s.affords(s.reservation(e.bytes))
	}
	if ok() {
		return ctx.Err()
	}
	s.blocked = true
	s.changed.Broadcast() // take may be waiting for what is not going to come
	err := s.wait(ctx, &s.origin.meter.budgetWait, ok)
	s.blocked = false
	return err
}

// affords says whether bytes more may be held. Records that are cut up count, but cannot be waited for when the shelf is
// empty: nothing would ever finish them. mu is held.
func (s *shelf) affords(bytes int64) bool {
	return s.fits(bytes) || s.ready+s.reading == 0 && bytes <= s.limit-s.held
}

// reservation returns what to reserve for a sample: its size, or where that is not known what the largest so far had,
// since one that turns out larger may have to be put down.
func (s *shelf) reservation(known int64) int64 {
	if known > 0 {
		return known
	}
	return s.largest
}

func (s *shelf) note(bytes int64) { s.largest = max(bytes, s.largest-s.largest>>10) }

// put is told how the reading of an admitted entry ended. It never blocks.
func (s *shelf) put(e *entry, rec arrow.Record, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	s.reading--
	if err != nil {
		s.held -= e.bytes
		e.bytes, e.err = 0, err
		return
	}
	bytes := imageBytes(rec)
	s.note(bytes)
	if !s.grows(e.bytes, bytes-e.bytes) {
		rec.Release()
		s.held -= e.bytes
		delete(s.entries, e.read)
		return
	}
	s.held += bytes - e.bytes
	e.bytes, e.record = bytes, rec
	s.ready++
}

// take returns the next sample of the training order, whose bytes stay held until the caller gives them back. It blocks
// until the sample is there.
func (s *shelf) take(ctx context.Context, at draw) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var e *entry
	err := s.wait(ctx, &s.origin.meter.sourceWait, func() bool {
		e = s.entries[at.read]
		return e == nil && s.absent(at.read) || e != nil && (e.record != nil || e.err != nil)
	})
	if err != nil {
		return nil, err
	}
	if e == nil {
		if e, err = s.direct(ctx, at); err != nil {
			return nil, err
		}
	} else {
		delete(s.entries, at.read)
		if e.record != nil {
			s.ready--
		}
	}
	s.done++
	s.changed.Broadcast()
	return e, e.err
}

// absent says whether waiting for a sample that has no entry is in vain: it was put down, or admission stands before it
// for want of bytes that samples of later turns hold. mu is held.
func (s *shelf) absent(read int64) bool {
	return read < s.next || s.blocked && s.ready > 0
}

// direct reads a sample by itself, and puts down as many of later turns as it takes. mu is held, but not while reading.
func (s *shelf) direct(ctx context.Context, at draw) (*entry, error) {
	if at.read >= s.next {
		s.early[at.read] = true
	}
	s.origin.meter.rereads.Add(1)
	e := &entry{slot: at.slot, read: at.read, bytes: s.largest}
	for {
		if err := s.makeRoom(ctx, e.bytes); err != nil {
			return nil, err
		}
		s.held += e.bytes
		s.mu.Unlock()
		rec, err := s.origin.one(ctx, at.slot)
		s.mu.Lock()
		if err != nil {
			s.held -= e.bytes
			return nil, err
		}
		bytes := imageBytes(rec)
		s.note(bytes)
		if s.grows(e.bytes, bytes-e.bytes) {
			s.held += bytes - e.bytes
			e.bytes, e.record = bytes, rec
			return e, nil
		}
		rec.Release() // larger than any before: again, with room for it
		s.held -= e.bytes
		e.bytes = bytes
	}
}

// makeRoom waits until bytes more may be held, ahead of admission. mu is held.
func (s *shelf) makeRoom(ctx context.Context, bytes int64) error {
	s.urgent = true
	defer func() {
		s.urgent = false
		s.changed.Broadcast()
	}()
	return s.wait(ctx, &s.origin.meter.budgetWait, func() bool {
		for !s.affords(bytes) && s.ready > 0 {
			s.putDown()
		}
		return s.affords(bytes)
	})
}

// putDown releases the sample that was read last: of all in a shuffle buffer none is more likely to come soon, and what
// is read ahead of the buffer comes later still. mu is held.
func (s *shelf) putDown() {
	for read := s.next - 1; ; read-- {
		if e := s.entries[read]; e != nil && e.record != nil {
			e.record.Release()
			s.held -= e.bytes
			s.ready--
			delete(s.entries, read)
			return
		}
	}
}

// clear releases everything, after all who read have ended.
func (s *shelf) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for read, e := range s.entries {
		if e.record != nil {
			e.record.Release()
		}
		s.held -= e.bytes
		delete(s.entries, read)
	}
	s.ready = 0
}
