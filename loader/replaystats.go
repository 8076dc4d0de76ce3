package loader

// ReplayStats is what a replay buffer holds and has done since the run began.
type ReplayStats struct {
	Samples int   // in the buffer
	Size    int   // most of them
	Bytes   int64 // of their images
	ReplayCounts
	Draws uint64 // so far
	Age   uint64 // of the oldest sample in the buffer: how many were admitted after it
}

// Stats may be called at any time.
func (r *Replay) Stats() ReplayStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buffer
	s := ReplayStats{Samples: len(b.slots), Size: b.size, Bytes: b.bytes, ReplayCounts: b.counts, Draws: r.next()}
	if oldest := b.oldest(); oldest != nil {
		s.Age = b.counts.Admitted - oldest.number - 1
	}
	return s
}
