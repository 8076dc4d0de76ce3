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
	more    chan struct{} // closed, and made anew, by Publish
}

var _ ingest.Stream = (*FakeStream)(nil)

// NewFakeStream makes a stream that already holds samples. Their IDs are the caller's: increasing offsets within a
// partition, gaps allowed.
func NewFakeStream(samples ...Sample) *FakeStream {
	return &FakeStream{samples: samples, more: make(chan struct{})}
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
func (s *FakeStream) Open(ctx context.Context, done ingest.Progress) (ingest.Reader, error) {
	return &fakeStreamReader{source: s, done: done.Clone(), closed: make(chan struct{})}, ctx.Err()
}

type fakeStreamReader struct {
	source *FakeStream
	done   ingest.Progress
	next   int // index into the source's samples
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
		batch, more := r.take()
		if len(batch) > 0 {
			return Record(r.source.Mem, batch...), nil
		}
		select {
		case <-more:
		case <-r.closed:
		case <-ctx.Done():
		}
	}
}

// take returns the next samples that are not done, and the channel that says when there are more.
func (r *fakeStreamReader) take() ([]Sample, <-chan struct{}) {
	s := r.source
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.Rows
	if rows <= 0 {
		rows = 3
	}
	var batch []Sample
	for ; r.next < len(s.samples) && len(batch) < rows; r.next++ {
		if sample := s.samples[r.next]; !r.done.Contains(sample.ID) {
			batch = append(batch, sample)
		}
	}
	return batch, s.more
}

func (r *fakeStreamReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
