package kafka

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"mocostream/ingest"
)

// errStuck says that an answer has data, and none of it is what was asked for.
var errStuck = errors.New("the answer holds no whole batch at the position")

// take hands out the records of an answer; the log ends at end. An error of one batch comes after what was before it.
func (p *partition) take(ctx context.Context, f *frame, end int64) error {
	p.overloaded(end)
	if to, jumps := p.r.o.Overload.jump(p.next, end); jumps {
		p.shed(p.next, to)
		p.next, p.epoch = to, -1
		return p.pass(ctx)
	}
	p.out.hold, p.out.end = f.hold, end
	defer func() { p.out.hold = nil }()
	from := p.next
	err := p.takeBatches(ctx, f)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && p.next == from && len(f.RecordBatches) > 0 {
		err = errStuck
	}
	return errors.Join(err, p.pass(ctx))
}

func (p *partition) takeBatches(ctx context.Context, f *frame) error {
	gone := newAborted(f.AbortedTransactions)
	for src := f.RecordBatches; len(src) > 0; {
		p.out.left = 0
		if len(f.AbortedTransactions) == 0 && !p.r.o.Overload.sheds() {
			p.out.left = len(src)
		}
		b, rest, err := nextBatch(src)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // answers end within a batch
		}
		if err == nil {
			err = b.verify()
		}
		if err != nil {
			return p.damaged(&b, f.HighWatermark, err)
		}
		p.broken, src = 0, rest
		if err := p.takeBatch(ctx, &b, gone); err != nil {
			return err
		}
	}
	return nil
}

// takeBatch hands out the records of one batch that its checksum holds for.
func (p *partition) takeBatch(ctx context.Context, b *batch, gone *aborted) (err error) {
	behind := b.last < p.next
	switch {
	case b.attrs.Control():
		var aborts bool
		if aborts, err = b.aborts(); err == nil && aborts {
			gone.ended(b)
		}
		err = nil // a marker that says nothing ends nothing: its transaction is one that was committed
	case gone.data(b):
		p.stats.update(func(s *PartitionStats) { s.Aborted += int64(b.count) })
	case !behind:
		err = p.takeRecords(ctx, b)
	}
	if err == nil && !behind {
		p.next, p.epoch = b.last+1, b.epoch
	}
	return err
}

// damaged asks for a batch again, a few times; then it is lost.
func (p *partition) damaged(b *batch, end int64, err error) error {
	if errors.Is(err, errChecksum) {
		p.stats.update(func(s *PartitionStats) { s.CRCErrors++ })
	}
	if p.broken++; p.broken < checksumTries {
		return fmt.Errorf("read batch at offset %d: %w", p.next, err)
	}
	p.broken = 0
	to := max(p.next, min(b.last, end-1)) + 1 // nothing of the batch may be believed
	if err := p.lose(p.next, to, fmt.Sprintf("their batch is damaged: %v", err)); err != nil {
		return err
	}
	p.next, p.epoch = to, -1
	return nil
}

// takeRecords hands out what is not done yet.
func (p *partition) takeRecords(ctx context.Context, b *batch) error {
	if b.compressed() {
		slot, err := p.r.slots.take(ctx, p.r.slotBytes, &p.urgent)
		if err != nil {
			return err
		}
		p.out.slot = slot
		defer func() {
			p.out.slot = nil
			slot.release()
		}()
	}
	defer p.records.shut()
	err := p.records.open(b, p.r.o.MaxBytes)
	for err == nil {
		if err = p.records.next(); err != nil {
			break
		}
		if p.records.offset < p.next || p.done.Contains(p.records.offset) {
			continue
		}
		if err := p.takeRecord(ctx, b); err != nil {
			return err
		}
	}
	// Records gathered point into the batch, which ends here. Those of a compressed one were decoded within its slot.
	if err := p.out.flush(ctx); err != nil {
		return err
	}
	if b.compressed() && p.out.builder.Len() > 0 {
		if err := p.out.emit(ctx); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return p.lose(p.next, b.last+1, fmt.Sprintf("their batch cannot be read: %v", err))
}

// takeRecord adds the current record to what is handed out, or leaves it to be passed.
func (p *partition) takeRecord(ctx context.Context, b *batch) error {
	r := &p.records
	row := ingest.Row{ID: ingest.ID{Source: p.source, Partition: p.number, Offset: r.offset}}
	at := b.timeOf(r.timeDelta)
	p.next = r.offset + 1
	if p.r.o.Overload.drops(row.ID, p.out.end) {
		p.shed(r.offset, r.offset+1)
		return nil
	}
	p.stats.update(func(s *PartitionStats) {
		s.Records++
		s.Bytes += r.size
		if r.large {
			s.TooLarge++
		}
	})
	if !at.IsZero() {
		p.stats.seen(at)
	}
	if r.large {
		return p.out.problem(ctx, row, at, fmt.Sprintf("message of %d bytes is above the limit of %d (ingest.kafka.max_message_bytes)", r.size, r.limit))
	}
	headers, err := r.appendHeaders(nil)
	if err != nil {
		return p.out.problem(ctx, row, at, "headers of the message are damaged")
	}
	rec := record{topic: p.topic, Partition: p.number, Offset: r.offset, Time: at, Key: r.key, Value: r.value, Headers: headers}
	var seen []witness
	if r.left == 0 { // one of a batch is enough to know a log again
		seen = append(seen, r.witness())
	}
	if r.stream != nil {
		r.scratch = nil // the record keeps it until it is decoded
	}
	return p.out.add(ctx, row, rec, seen)
}

// witness returns by what the current record is known again.
func (r *records) witness() witness {
	sum := crc32.Update(crc32.Checksum(r.key, castagnoli), castagnoli, r.value)
	return witness{Offset: r.offset, Epoch: r.batch.epoch, Time: unixMilli(r.batch.timeOf(r.timeDelta)), Size: r.size, CRC: sum}
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}

// pass hands out what was gathered and reports what was met up to next.
func (p *partition) pass(ctx context.Context) error {
	if err := p.out.flush(ctx); err != nil {
		return err
	}
	p.out.gap(p.next)
	if p.out.builder.Len() == 0 && len(p.out.passed) == 0 {
		return nil
	}
	return p.out.emit(ctx)
}
