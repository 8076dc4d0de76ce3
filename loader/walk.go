package loader

import (
	"io"

	"mocostream/ingest"
)

// walk goes through the blocks of a plan, epoch after epoch.
type walk struct {
	plan         *plan
	epochs       int64 // 0 is for ever
	epoch, block int64 // of the block opened last
	base         int64 // reads before that block, from the first block opened
	size         int64 // of that block
}

// start opens the first block.
func (w *walk) start(epoch, block int64) (sequence, error) {
	w.epoch, w.block = epoch, block
	return w.open()
}

func (w *walk) open() (seq sequence, err error) {
	seq, w.size, err = w.plan.open(w.epoch, w.block)
	return seq, err
}

// next opens the block after, io.EOF when all epochs are done.
func (w *walk) next() (sequence, error) {
	w.base += w.size
	if w.block++; w.block == w.plan.blocks() {
		w.epoch, w.block = w.epoch+1, 0
		if w.epoch == w.epochs {
			return nil, io.EOF
		}
	}
	return w.open()
}

// draw is the next sample of the training order.
type draw struct {
	slot
	read  int64 // its place in the order of reading, from 0 at the block of the start
	epoch int64
	after ingest.Position
}

// order is the training order from some position on.
type order struct {
	walk  walk
	mixer *mixer
	index int64 // in the epoch, of the next draw
}

// newOrder begins at a position inside an epoch.
func newOrder(p *plan, epochs int64, at ingest.Position) (*order, error) {
	block, before, err := p.seek(at.Epoch, at.Index)
	if err != nil {
		return nil, err
	}
	o := &order{walk: walk{plan: p, epochs: epochs}, index: at.Index}
	seq, err := o.walk.start(at.Epoch, block)
	if err != nil {
		return nil, err
	}
	o.mixer = p.mix(at.Epoch, block, seq)
	o.mixer.skip(before)
	return o, nil
}

// next returns io.EOF when all epochs are done.
func (o *order) next() (draw, error) {
	n, ok := o.mixer.next()
	for !ok {
		seq, err := o.walk.next()
		if err != nil {
			return draw{}, err
		}
		o.mixer = o.walk.plan.mix(o.walk.epoch, o.walk.block, seq)
		n, ok = o.mixer.next()
	}
	d := draw{slot: n.slot, read: o.walk.base + n.read, epoch: o.walk.epoch}
	d.after = o.step()
	return d, nil
}

// step counts one sample and returns what is consumed with it. The end of an epoch is the start of the next.
func (o *order) step() ingest.Position {
	m := o.walk.plan.manifest
	if o.index++; o.index == m.Samples() {
		o.index = 0
		return ingest.Position{Source: m.Hash(), Epoch: o.walk.epoch + 1}
	}
	return ingest.Position{Source: m.Hash(), Epoch: o.walk.epoch, Index: o.index}
}
