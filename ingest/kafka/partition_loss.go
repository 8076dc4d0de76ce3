package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"

	kafkago "github.com/segmentio/kafka-go"
)

// errBeyond says that the log seems to end before our position.
var errBeyond = errors.New("log ends before the position")

// outOfRange finds out why brokers have no record at next: deleted by retention, or a log that was cut off.
func (p *partition) outOfRange(ctx context.Context) error {
	first, err := p.offsetAt(ctx, atStart) // a broker's own answer does not say
	if err != nil {
		return err
	}
	if p.next < first {
		if err := p.lose(p.next, first, "retention has deleted them before they were read"); err != nil {
			return err
		}
		p.next, p.epoch = first, -1
		return p.pass(ctx)
	}
	end, err := p.offsetAt(ctx, atEnd)
	if err != nil {
		return err
	}
	if p.epoch = -1; p.next <= end {
		p.beyond = 0
		return kafkago.OffsetOutOfRange // the leader has moved or caught up meanwhile: ask again
	}
	if p.beyond++; p.beyond >= quietFailures && !p.truncated {
		p.truncated = true
		if err := p.lose(end, p.next, "they were read, and the log ends before them now: it was cut off"); err != nil {
			return err
		}
	}
	return errBeyond
}

// diverged deals with a leader whose log is another one than what was read.
func (p *partition) diverged(end int64) error {
	from := min(end, p.next)
	p.epoch = -1
	return p.lose(from, p.next, fmt.Sprintf("they were read, and the log was cut off at offset %d and written anew", end))
}

// recognize checks that the log still holds what was consumed: that w's leader epoch reaches so far, and that the
// record at its offset, if it is still there, is the same.
func (p *partition) recognize(ctx context.Context, w witness) error {
	end := int64(-1)
	if w.Epoch >= 0 {
		err := p.insist(ctx, func(broker int32) (err error) {
			_, end, err = p.r.client.epochEnd(ctx, broker, p.topic, p.number, w.Epoch)
			return err
		})
		if err != nil {
			return err
		}
	}
	if end >= 0 && end <= w.Offset {
		return p.lose(end, w.Offset+1, "they were consumed, and the log of their leader ends before them now: it was cut off")
	}
	found, ok, err := p.look(ctx, w.Offset)
	if err != nil || !ok || found.same(w) {
		return err
	}
	return p.lose(w.Offset, w.Offset+1, "it was consumed, and the log has another record in its place: it was cut off and written anew")
}

// look reads the record at offset; false if it is gone, by compaction or retention, or not written yet.
func (p *partition) look(ctx context.Context, offset int64) (found witness, ok bool, err error) {
	err = p.insist(ctx, func(int32) error {
		f, err := p.fetch(ctx, offset, -1)
		if err != nil {
			return err
		}
		defer f.close(p.r.pool)
		switch f.ErrorCode {
		case 0:
		case int16(kafkago.OffsetOutOfRange):
			return nil
		default:
			return kafkago.Error(f.ErrorCode)
		}
		found, ok, err = p.find(ctx, f, offset)
		return err
	})
	return found, ok, err
}

// find looks for one record in an answer. A batch that cannot be read has no verdict.
func (p *partition) find(ctx context.Context, f *frame, offset int64) (found witness, ok bool, err error) {
	b, _, err := nextBatch(f.RecordBatches)
	if err != nil || b.base > offset || b.last < offset || b.attrs.Control() || b.verify() != nil {
		return found, false, nil
	}
	if b.compressed() {
		slot, err := p.r.slots.take(ctx, p.r.slotBytes, &p.urgent)
		if err != nil {
			return found, false, err
		}
		defer slot.release()
	}
	defer p.records.shut()
	if err := p.records.open(&b, p.r.o.MaxBytes); err != nil {
		return found, false, nil
	}
	for {
		switch err := p.records.next(); {
		case errors.Is(err, io.EOF):
			return found, false, nil
		case err != nil:
			return found, false, nil
		case p.records.offset == offset:
			return p.records.witness(), true, nil
		}
	}
}
