package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mocostream/ingest"
	"mocostream/sink"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	kafkago "github.com/segmentio/kafka-go"
)

const (
	// produceBurst is how many images are sent at a time, at most; with a rate those of a tenth of a second.
	produceBurst = 64
	// produceHold bounds the bytes of images that wait to be sent; one alone may pass it.
	produceHold = 8 << 20
)

// producer sends images to a topic, some at a time.
type producer struct {
	produceCommand
	topic                  *sink.Topic
	name                   string
	labelHeader, keyHeader string
	term                   *terminal

	waiting []sink.Message
	held    int       // bytes of waiting
	due     time.Time // when the next batch may go
	sent    int64
	skipped int64
}

// all sends all passes. It ends with errInterrupted between two batches once the program is told to stop.
func (p *producer) all(ctx context.Context) error {
	src, closeSource, err := openPacked(p.Data, p.Labels, p.term)
	if err != nil {
		return err
	}
	defer closeSource()
	m, err := src.Manifest(ctx)
	if err != nil {
		return err
	}
	p.due = time.Now()
	for pass := 0; pass < p.Passes || p.Passes == 0; pass++ {
		before := p.sent
		if err := p.pass(ctx, src, m.Len(), pass); err != nil {
			return err
		}
		if p.sent == before {
			return fmt.Errorf("%s: it has no image that can be sent", p.Data)
		}
	}
	return nil
}

// pass sends all images once.
func (p *producer) pass(ctx context.Context, src ingest.Bounded, n int32, pass int) error {
	var order []int // nil: as they are listed
	if p.Shuffle {
		order = rand.New(rand.NewPCG(p.Seed, uint64(pass))).Perm(int(n))
	}
	for i := range n {
		partition := i
		if order != nil {
			partition = int32(order[i])
		}
		if err := ingest.Records(ctx, src, partition, func(r arrow.Record) error { return p.record(ctx, r) }); err != nil {
			return err
		}
	}
	return p.send(ctx)
}

// record queues the images of a record, and sends what is a batch.
func (p *producer) record(ctx context.Context, record arrow.Record) error {
	keys := record.Column(ingest.ColKey).(*array.String)
	images := record.Column(ingest.ColImage).(*array.Binary)
	labels := record.Column(ingest.ColLabel).(*array.Int32)
	problems := record.Column(ingest.ColProblem).(*array.String)
	for i := range int(record.NumRows()) {
		key := strings.Clone(keys.Value(i)) // the record is released before it is sent
		if problems.IsValid(i) {
			p.skip(key, problems.Value(i))
			continue
		}
		label := ""
		if p.Labels && labels.IsValid(i) {
			label = strconv.Itoa(int(labels.Value(i)))
		}
		if err := p.add(ctx, key, images.Value(i), label); err != nil {
			return err
		}
	}
	return nil
}

// add queues a copy of an image, with headers of its own besides the ones that every image has.
func (p *producer) add(ctx context.Context, key string, image []byte, label string, more ...kafkago.Header) error {
	headers := append(p.headers(key, image, label), more...)
	size := batchRoom + messageRoom + len(key) + len(image)
	for _, h := range headers {
		size += messageRoom + len(h.Key) + len(h.Value)
	}
	switch {
	case len(image) == 0:
		p.skip(key, "it is empty")
		return nil
	case size > int(p.MaxMessage):
		p.skip(key, fmt.Sprintf("%d bytes are more than --max-message has room for; raise it and the topic's max.message.bytes", len(image)))
		return nil
	}
	p.waiting = append(p.waiting, sink.Message{Key: []byte(key), Value: append([]byte(nil), image...), Headers: headers})
	p.held += len(image)
	if len(p.waiting) < p.burst() && p.held < produceHold {
		return nil
	}
	return p.send(ctx)
}

func (p *producer) headers(key string, image []byte, label string) []kafkago.Header {
	var headers []kafkago.Header
	add := func(name, value string) {
		headers = append(headers, kafkago.Header{Key: name, Value: []byte(value)})
	}
	if kind := http.DetectContentType(image); strings.HasPrefix(kind, "image/") {
		add("content-type", kind)
	}
	if label != "" {
		add(p.labelHeader, label)
	}
	if p.keyHeader != "" {
		add(p.keyHeader, key)
	}
	return headers
}

func (p *producer) skip(key, reason string) {
	p.skipped++
	fmt.Fprintf(p.term.err, "mocostream: warning: %q is left out: %s\n", key, reason)
}

// burst is how many images are sent at a time.
func (p *producer) burst() int {
	if p.Rate == 0 {
		return produceBurst
	}
	return min(max(int(p.Rate/10), 1), produceBurst)
}

// send sends what waits once it is due.
func (p *producer) send(ctx context.Context) error {
	if err := p.await(ctx); err != nil || len(p.waiting) == 0 {
		return err
	}
	if err := p.topic.Send(ctx, p.waiting); err != nil {
		return err
	}
	if p.Rate > 0 {
		p.due = p.due.Add(time.Duration(float64(len(p.waiting)) / p.Rate * float64(time.Second)))
	}
	p.sent += int64(len(p.waiting))
	p.waiting, p.held = p.waiting[:0], 0
	return nil
}

// await returns when the next batch is due, or the program is to stop.
func (p *producer) await(ctx context.Context) error {
	timer := time.NewTimer(time.Until(p.due))
	defer timer.Stop()
	select {
	case <-p.term.stop:
		return errInterrupted
	default:
	}
	select {
	case <-timer.C:
		return nil
	case <-p.term.stop:
		return errInterrupted
	case <-ctx.Done():
		return ctx.Err()
	}
}
