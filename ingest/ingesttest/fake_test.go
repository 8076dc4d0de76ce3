package ingesttest_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

func TestFakeBounded(t *testing.T) {
	ingesttest.TestBounded(t, func(t *testing.T) (ingest.Bounded, []ingesttest.Sample) {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		t.Cleanup(func() { mem.AssertSize(t, 0) })
		labelled := ingesttest.Generate(2, 4, 100)
		labelled[1].Label, labelled[2].Time = new(int32(7)), new(arrow.Timestamp(12))
		b := ingesttest.NewFakeBounded(t, ingesttest.Generate(0, 7, 50), ingesttest.Generate(1, 1, 0), labelled)
		b.Mem = mem
		return b, b.Samples()
	})
}

func TestFakeStream(t *testing.T) {
	ingesttest.TestStream(t, func(t *testing.T) (ingest.Stream, []ingesttest.Sample) {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		t.Cleanup(func() { mem.AssertSize(t, 0) })
		samples := append(ingesttest.Generate(0, 20, 10), ingesttest.Generate(3, 20, 10)...)
		for i := range samples {
			samples[i].Source = "topic"
			if i%5 == 4 { // a second image in the message before
				samples[i].Offset, samples[i].Item = samples[i].Offset-1, 1
			}
		}
		s := ingesttest.NewFakeStream(samples...)
		s.Mem = mem
		return s, samples
	})
}

func TestPublishWakesReader(t *testing.T) {
	s := ingesttest.NewFakeStream()
	r, err := s.Open(t.Context(), ingest.Progress{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go s.Publish(ingesttest.Generate(0, 1, 5)...)
	got, err := ingesttest.ReadN(t.Context(), r, 1)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestBeforeHook(t *testing.T) {
	broken := errors.New("disk on fire")
	b := ingesttest.NewFakeBounded(t, ingesttest.Generate(0, 9, 5))
	b.Before = func(ctx context.Context, next ingest.ID) error {
		switch next.Offset {
		case 3:
			return broken
		case 6:
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	r, err := b.Read(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ingesttest.ReadAll(t.Context(), r); len(got) != 3 || !errors.Is(err, broken) {
		t.Fatalf("got %d samples, %v", len(got), err)
	}
	r, err = b.Read(t.Context(), 0, 6)
	if err != nil {
		t.Fatal(err)
	}
	go r.Close()
	if _, err := r.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Next blocked in the hook when closed: %v", err)
	}
}
