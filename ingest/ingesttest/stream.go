package ingesttest

import (
	"context"
	"net"
	"sync"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// FakeStream is an endless source in memory: its readers hand out what was published, in that order, and wait for more.
type FakeStream struct {
	// Rows and Mem are as in FakeBounded.
	Rows int
	Mem  memory.Allocator

	mu      sync.Mutex
	samples []Sample
	passed  []passed
	more    chan struct{} // closed, and made anew, by Publish
}

var _ ingest.Stream = (*FakeStream)(nil)

// NewFakeStream makes a stream that already holds samples. Their IDs are the caller's: increasing offsets within a
// partition, gaps allowed.
func NewFakeStream(samples ...Sample) *FakeStream {
	return &FakeStream{samples: samples, more: make(chan struct{})}
}

// passed is a span that a reader meets before sample before.
type passed struct {
	before int
	span   ingest.Span
}

// Pass makes the readers meet, behind what was published so far, offsets that will never be samples.
func (s *FakeStream) Pass(spans ...ingest.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range spans {
		s.passed = append(s.passed, passed{len(s.samples), span})
	}
	close(s.more)
	s.more = make(chan struct{})
}

// Publish appends samples and wakes the readers.
func (s *FakeStream) Publish(samples ...Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, samples...)
	close(s.more)
	s.more = make(chan struct{})
}

// Open implements ingest.Stream.
func (s *FakeStream) Open(ctx context.Context, done ingest.Progress) (ingest.StreamReader, error) {
	return &fakeStreamReader{source: s, done: done.Clone(), closed: make(chan struct{})}, ctx.Err()
}

type fakeStreamReader struct {
	source *FakeStream
	done   ingest.Progress
	next   int // index into the source's samples
	passed int // of the source's spans, those reported
	once   sync.Once
	closed chan struct{}
}

func (r *fakeStreamReader) Next(ctx context.Context) (arrow.Record, error) {
	for {
		select {
		case <-r.closed:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		default:
		}
		batch, more, met := r.take()
		if len(batch) > 0 || met {
			return Record(r.source.Mem, batch...), nil
		}
		select {
		case <-more:
		case <-r.closed:
		case <-ctx.Done():
		}
	}
}

// take returns the next samples that are not done, the channel that says when there are more, and whether spans were met.
func (r *fakeStreamReader) take() (batch []Sample, more <-chan struct{}, met bool) {
	s := r.source
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.Rows
	if rows <= 0 {
		rows = 3
	}
	for ; r.next < len(s.samples) && len(batch) < rows; r.next++ {
		if sample := s.samples[r.next]; !r.done.Contains(sample.ID) {
			batch = append(batch, sample)
		}
	}
	met = r.passed < len(s.passed) && s.passed[r.passed].before <= r.next
	return batch, s.more, met
}

// Passed implements ingest.StreamReader.
func (r *fakeStreamReader) Passed() []ingest.Span {
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	var spans []ingest.Span
	for ; r.passed < len(r.source.passed) && r.source.passed[r.passed].before <= r.next; r.passed++ {
		spans = append(spans, r.source.passed[r.passed].span)
	}
	return spans
}

func (r *fakeStreamReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
