package frozen_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/internal/frozen"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listing(yields func(yield func(ingest.Partition, error) bool)) func(context.Context) iter.Seq2[ingest.Partition, error] {
	return func(context.Context) iter.Seq2[ingest.Partition, error] { return yields }
}

func TestListedOnce(t *testing.T) {
	var times atomic.Int32
	l := frozen.New(t.TempDir(), "", "test", listing(func(yield func(ingest.Partition, error) bool) {
		times.Add(1)
		yield(ingest.Partition{Name: "a"}, nil)
	}))
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			_, err := l.Get(t.Context())
			return err
		})
	}
	if err := g.Wait(); err != nil || times.Load() != 1 {
		t.Errorf("listed %d times, %v", times.Load(), err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// Who waits for another's listing can give up, and a listing that failed is tried again.
func TestWaitingIsCancelled(t *testing.T) {
	broken := errors.New("disk on fire")
	started, release := make(chan struct{}), make(chan struct{})
	fail := true
	l := frozen.New(t.TempDir(), "", "test", listing(func(yield func(ingest.Partition, error) bool) {
		if fail {
			close(started)
			<-release
			yield(ingest.Partition{}, broken)
			return
		}
		yield(ingest.Partition{Name: "a"}, nil)
	}))
	defer l.Close()
	first := make(chan error, 1)
	go func() {
		_, err := l.Get(t.Context())
		first <- err
	}()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting and cancelled: %v", err)
	}
	close(release)
	if err := <-first; !errors.Is(err, broken) {
		t.Errorf("first: %v", err)
	}
	fail = false
	if m, err := l.Get(t.Context()); err != nil || m.Len() != 1 {
		t.Errorf("again: %v", err)
	}
}
