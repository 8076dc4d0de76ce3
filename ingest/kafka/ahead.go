package kafka

import "context"

// ahead is a request for what comes after an answer, under way while that answer is handed out.
type ahead struct {
	offset int64
	epoch  int32
	cancel context.CancelFunc
	done   chan struct{} // closed when answer and err are set
	answer *frame
	err    error
}

// askAhead asks for the records that follow f, unless the log ends there at end. Their memory is of the same budget.
func (p *partition) askAhead(ctx context.Context, f *frame, end int64) {
	next, epoch := p.behind(f)
	if next <= p.next || next >= end {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{offset: next, epoch: epoch, cancel: cancel, done: make(chan struct{})}
	p.ahead = a
	go func() { // fetched and dropAhead wait for it
		defer close(a.done)
		a.answer, a.err = p.fetch(ctx, next, epoch)
	}()
}

// behind returns where the loop will stand once it has taken all of f, if nothing is wrong with it.
func (p *partition) behind(f *frame) (next int64, epoch int32) {
	next, epoch = p.next, p.epoch
	for src := f.RecordBatches; len(src) > 0; {
		b, rest, err := nextBatch(src)
		if err != nil {
			break // answers end within a batch
		}
		if b.last >= next {
			next, epoch = b.last+1, b.epoch
		}
		src = rest
	}
	return p.done.FirstGap(next), epoch
}

// fetched returns the answer for next: the one asked for ahead, if that is where the loop came to.
func (p *partition) fetched(ctx context.Context) (*frame, error) {
	a := p.ahead
	if a == nil || a.offset != p.next || a.epoch != p.epoch {
		p.dropAhead()
		return p.fetch(ctx, p.next, p.epoch)
	}
	p.ahead = nil
	<-a.done
	a.cancel()
	return a.answer, a.err
}

// dropAhead ends the request under way, if any, and gives back what it brought.
func (p *partition) dropAhead() {
	a := p.ahead
	if a == nil {
		return
	}
	p.ahead = nil
	a.cancel()
	<-a.done
	if a.answer != nil {
		a.answer.close(p.r.pool)
	}
}
