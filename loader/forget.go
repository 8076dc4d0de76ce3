package loader

import "io"

// OpenSaved opens a buffer that a checkpoint with the token holds, to look at it or to Forget, not to Run. It uses dir as
// NewReplay does, and is closed by Close.
func OpenSaved(dir string, token Token, from io.Reader, open func(name string) (io.ReadCloser, error)) (*Replay, error) {
	r, err := NewReplay(ReplayOptions{
		Policy: ReplayFIFO, Size: 1 << 40, Rate: 1, Batch: 1, Delay: 1, Bad: BadRule{Window: 1}, Dir: dir, Start: token,
	})
	if err != nil {
		return nil, err
	}
	if err := r.Restore(from, open); err != nil {
		_ = r.Close() // the reason stands
		return nil, err
	}
	return r, nil
}

// Forget takes the samples out whose keys are unwanted, and their bytes out of the segments, of a buffer that was opened by
// OpenSaved. It returns how many there were, and the buffer to be written in place of the old one, as At does.
func (r *Replay) Forget(unwanted func(key string) bool) (n int, buffer io.WriterTo, images []Segment, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, now := r.buffer, r.next()
	touched := map[uint64]bool{}
	for i := len(b.slots) - 1; i >= 0; i-- {
		if k := b.slots[i]; unwanted(k.row.Key) {
			touched[k.at.segment] = true
			b.evict(k, now)
			b.counts.Purged++
			n++
		}
	}
	if err := b.rewrite(touched, now); err != nil {
		return 0, nil, nil, err
	}
	b.undo = journal{} // it is the buffer as of now that is wanted
	if err := b.images.flush(); err != nil {
		return 0, nil, nil, err
	}
	saved := r.saved(replayState{Position: now, Applied: r.applied, Counts: b.counts}, b.mark())
	saved.draws = r.draws.all
	return n, saved, saved.state.Segments, nil
}

// rewrite moves all images out of segments.
func (b *buffer) rewrite(touched map[uint64]bool, now uint64) error {
	if touched[b.images.current.id] {
		if err := b.images.roll(); err != nil {
			return err
		}
	}
	for _, k := range b.slots {
		if !touched[k.at.segment] {
			continue
		}
		if err := b.move(k, now); err != nil {
			return err
		}
		if b.images.full() {
			if err := b.images.roll(); err != nil {
				return err
			}
		}
	}
	return nil
}
