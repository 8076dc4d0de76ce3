package loader

import "math"

// Settle says what became of the draws before position: those of a finished step, whose positions are given in the
// batch's order, with its embeddings [len(positions), dim] row by row, or nil where there are none. Draws before position
// that no step took are bad. It is called after each step, in order; it does not block.
func (r *Replay) Settle(position uint64, positions []uint64, features []float32) {
	r.inbox.Lock()
	r.told = append(r.told, outcomes{position, positions, features})
	r.inbox.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// outcomes is what Settle was told.
type outcomes struct {
	position  uint64
	positions []uint64
	features  []float32
}

// hear takes note of what Settle was told.
func (r *Replay) hear() error {
	r.inbox.Lock()
	told := r.told
	r.told = nil
	r.inbox.Unlock()
	for _, o := range told {
		if err := r.settle(o); err != nil {
			return err
		}
	}
	return nil
}

// markBefore is what the buffer had come to before the draw at position.
func (r *Replay) markBefore(position uint64) mark {
	if position == r.draws.first {
		return r.base
	}
	return r.draws.at(position - 1).after
}

func (r *Replay) settle(o outcomes) error {
	for p := r.settled; p < o.position; p++ {
		r.draws.at(p).bad = true
	}
	for i, p := range o.positions {
		d := r.draws.at(p)
		d.bad = false
		if n := len(o.features) / len(o.positions); n > 0 {
			d.feature = o.features[i*n : (i+1)*n : (i+1)*n]
		}
	}
	r.settled = max(r.settled, o.position)
	r.buffer.undo.settle(r.settled)
	r.draws.forget(r.needed(r.settled))
	return r.buffer.images.prune(r.settled, r.markBefore(r.settled).segment)
}

// needed is the first draw that a checkpoint of the draw at position holds: its outcome has not taken effect, or it may
// be in one batch with the next.
func (r *Replay) needed(position uint64) uint64 {
	return min(r.appliedBefore(position), position-min(position, uint64(r.opts.Batch)))
}

// appliedBefore is the first draw whose outcome had not taken effect before draw position was about to be made.
func (r *Replay) appliedBefore(position uint64) uint64 {
	if position == 0 {
		return 0
	}
	return max(r.began, r.due(position-1))
}

// blend averages a feature with the one of earlier visits, half and half, to length 1 (MinRed, arXiv 2203.12710).
func blend(before, now []float32) []float32 {
	sum := make([]float32, len(now))
	copy(sum, now)
	if len(before) == len(now) {
		for i := range sum {
			sum[i] = (before[i] + now[i]) / 2
		}
	}
	var square float64
	for _, x := range sum {
		square += float64(x) * float64(x)
	}
	if square > 0 {
		scale := float32(1 / math.Sqrt(square))
		for i := range sum {
			sum[i] *= scale
		}
	}
	return sum
}
