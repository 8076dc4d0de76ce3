package ingesttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// FakeBounded is a bounded source in memory.
type FakeBounded struct {
	// Rows is how many samples a record holds at most; 0 means 3. Mem is Go's heap when nil. Before, when not nil, is
	// called by Next with the first sample of the record to come: it may block, and its error is returned by Next. All
	// three are set before the first Read.
	Rows   int
	Mem    memory.Allocator
	Before func(ctx context.Context, next ingest.ID) error

	manifest   *ingest.Manifest
	partitions [][]Sample
}

var _ ingest.Bounded = (*FakeBounded)(nil)

// NewFakeBounded makes a source of one partition per argument. It gives the samples their IDs. The manifest lies in a
// folder of the test.
func NewFakeBounded(t testing.TB, partitions ...[]Sample) *FakeBounded {
	t.Helper()
	m, err := ingest.WriteManifest(t.TempDir(), func(yield func(ingest.Partition, error) bool) {
		for i, samples := range partitions {
			p := ingest.Partition{Name: fmt.Sprintf("partition-%06d", i), Count: int64(len(samples))}
			for _, s := range samples {
				p.Size += int64(len(s.Image))
			}
			if !yield(p, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatalf("write manifest: %v", err)
	}
	t.Cleanup(func() { m.Close() })
	b := &FakeBounded{manifest: m, partitions: make([][]Sample, len(partitions))}
	for p, samples := range partitions {
		b.partitions[p] = append([]Sample(nil), samples...)
		for o := range b.partitions[p] {
			b.partitions[p][o].ID = ingest.ID{Source: m.Hash(), Partition: int32(p), Offset: int64(o)}
		}
	}
	return b
}

// Samples returns all samples in the order of partitions and offsets.
func (b *FakeBounded) Samples() []Sample {
	var all []Sample
	for _, samples := range b.partitions {
		all = append(all, samples...)
	}
	return all
}

// Manifest implements ingest.Bounded.
func (b *FakeBounded) Manifest(ctx context.Context) (*ingest.Manifest, error) {
	return b.manifest, ctx.Err()
}

// Read implements ingest.Bounded.
func (b *FakeBounded) Read(ctx context.Context, partition int32, from int64) (ingest.Reader, error) {
	if partition < 0 || int(partition) >= len(b.partitions) {
		return nil, fmt.Errorf("read fake: no partition %d", partition)
	}
	samples := b.partitions[partition]
	if from < 0 || from > int64(len(samples)) {
		return nil, fmt.Errorf("read fake: no sample %d in partition %d", from, partition)
	}
	return &fakeReader{source: b, left: samples[from:], closed: make(chan struct{})}, ctx.Err()
}

type fakeReader struct {
	source *FakeBounded
	left   []Sample
	once   sync.Once
	closed chan struct{}
}

func (r *fakeReader) Next(ctx context.Context) (arrow.Record, error) {
	select {
	case <-r.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
	}
	if len(r.left) == 0 {
		return nil, io.EOF
	}
	if err := r.before(ctx); err != nil {
		return nil, err
	}
	rows := r.source.Rows
	if rows <= 0 {
		rows = 3
	}
	n := min(rows, len(r.left))
	record := Record(r.source.Mem, r.left[:n]...)
	r.left = r.left[n:]
	return record, nil
}

// before runs the hook with a context that ends with Close too, so that Close unblocks it.
func (r *fakeReader) before(ctx context.Context) error {
	if r.source.Before == nil {
		return nil
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- r.source.Before(inner, r.left[0].ID) }()
	select {
	case err := <-done:
		return err
	case <-r.closed:
		cancel(net.ErrClosed)
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			return errors.Join(net.ErrClosed, err)
		}
		return net.ErrClosed
	}
}

func (r *fakeReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// Record makes a record of ingest.Schema from samples, for the caller to Release. A nil allocator is Go's heap.
func Record(mem memory.Allocator, samples ...Sample) arrow.Record {
	b := ingest.NewBuilder(mem)
	defer b.Release()
	for _, s := range samples {
		b.Append(s.Row, s.Image)
	}
	return b.Record()
}
