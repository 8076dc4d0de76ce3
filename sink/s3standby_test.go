package sink

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const lease = 12 * time.Second

// standby opens a store that waits, in the background.
func standby(ctx context.Context, t *testing.T, b *heapBucket) <-chan *S3Store {
	h := &s3Shelf{bucket: b, cache: t.TempDir()}
	o := h.options(Options{})
	o.Lease, o.Wait, o.Owner = lease, true, "standby"
	leads := make(chan *S3Store, 1)
	go func() {
		defer close(leads)
		s, err := OpenS3Store(ctx, o)
		if err == nil {
			leads <- s
		} else if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	return leads
}

func leading(t *testing.T, b *heapBucket) *S3Store {
	return openS3(t, b, func(o *S3Options) { o.Lease, o.Owner = lease, "leader" })
}

// run gives signs of life until stop, which returns Run's error.
func run(ctx context.Context, s *S3Store) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	end := make(chan error, 1)
	go func() { end <- s.Run(ctx) }()
	return func() error { cancel(); return <-end }
}

// waits says that nobody leads yet.
func waits(t *testing.T, leads <-chan *S3Store) {
	t.Helper()
	synctest.Wait()
	select {
	case <-leads:
		t.Fatal("took over from a leader that gives signs of life")
	default:
	}
}

func TestStandbyTakesOverFromTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket()
		leader := leading(t, b)
		put(t, leader, checkpoint(1, 1))
		stop := run(t.Context(), leader)
		leads := standby(t.Context(), t, b)
		time.Sleep(time.Hour)
		waits(t, leads)
		if err := stop(); err != nil { // as SIGKILL or SIGSTOP: nothing is said to anybody
			t.Fatal(err)
		}
		since := time.Now()
		next := <-leads
		if took := time.Since(since); took < lease*2/3 || took > lease*2 {
			t.Errorf("took over after %s, the lease is %s", took, lease)
		}
		newestIs(t, next, 1, 1)
		// The first is continued: it must end by itself, at its next sign of life or save.
		if err := leader.Run(t.Context()); !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "standby") {
			t.Errorf("run: error %v, want ErrFenced", err)
		}
		if _, err := leader.Save(t.Context(), checkpoint(2, 2)); !errors.Is(err, ErrFenced) {
			t.Errorf("save: error %v, want ErrFenced", err)
		}
		newestIs(t, next, 1, 1)
	})
}

// A leader that ends properly hands over at once, and saves alone are signs of life too.
func TestStandbyTakesOverFromTheReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket()
		leader := leading(t, b)
		leads := standby(t.Context(), t, b)
		for step := range int64(5) {
			time.Sleep(lease * 2 / 3)
			put(t, leader, checkpoint(step, 1))
		}
		waits(t, leads)
		since := time.Now()
		if err := leader.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-leads
		if took := time.Since(since); took > lease/3 {
			t.Errorf("took over after %s", took)
		}
	})
}

// Of many that stand by one takes over, and the others go on waiting for that one.
func TestManyStandBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket()
		leading(t, b) // and dies
		ctx, cancel := context.WithCancel(t.Context())
		var all []<-chan *S3Store
		for range 4 {
			all = append(all, standby(ctx, t, b))
		}
		time.Sleep(lease * 4 / 3)
		synctest.Wait()
		led := 0
		for _, leads := range all {
			select {
			case s := <-leads:
				led++
				defer run(t.Context(), s)()
			default:
			}
		}
		if led != 1 {
			t.Errorf("%d took over", led)
		}
		time.Sleep(10 * lease)
		numbers, _ := chain(t, b)
		equal(t, "generations", numbers, []int64{2, 1})
		cancel()
		for _, leads := range all {
			for range leads {
				t.Error("took over from a leader that gives signs of life")
			}
		}
	})
}

// While the server answers nobody, time does not count against the leader.
func TestOutageIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket()
		leader := leading(t, b)
		stop := run(t.Context(), leader)
		leads := standby(t.Context(), t, b)
		time.Sleep(time.Second)
		b.breakWith(func(string, string) (error, bool) { return errOutage, false })
		time.Sleep(time.Hour)
		b.breakWith(nil)
		time.Sleep(time.Hour)
		waits(t, leads)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		<-leads
	})
}

func TestVigil(t *testing.T) {
	var v vigil
	a, b := silence{1, "a"}, silence{1, "b"}
	start := time.Now()
	for i, c := range []struct {
		now  silence
		at   time.Duration
		want time.Duration
	}{
		{a, 0, 0}, {a, 2, 2}, {a, 4, 4}, {b, 6, 0}, {b, 8, 2},
		{b, 60, 0}, // this process was stopped, and perhaps the leader with it
		{b, 62, 2}, {silence{2, "b"}, 64, 0}, {silence{2, "b"}, 70, 6}, {silence{2, "b"}, 76, 12},
	} {
		if got := v.saw(c.now, start.Add(c.at*time.Second), lease); got != c.want*time.Second {
			t.Errorf("look %d: quiet for %s, want %s", i, got, c.want*time.Second)
		}
	}
}

// A run folder is waited for until its process is gone, and no longer than ctx allows.
func TestAwaitStore(t *testing.T) {
	dir := t.TempDir()
	first := reopen(t, dir, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var told warnings
	waiting := make(chan error, 1)
	go func() {
		_, err := AwaitStore(ctx, dir, Options{Warn: func(text string) { told.add(text); cancel() }})
		waiting <- err
	}()
	if err := <-waiting; !errors.Is(err, context.Canceled) || len(told) != 1 || !strings.Contains(told[0], "standing by") {
		t.Errorf("error %v, told %q", err, told)
	}
	busy := make(chan struct{})
	got := make(chan *Store, 1)
	go func() {
		s, err := AwaitStore(t.Context(), dir, Options{Warn: func(string) { close(busy) }})
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	<-busy
	first.Close()
	put(t, <-got, checkpoint(1, 1))
}
