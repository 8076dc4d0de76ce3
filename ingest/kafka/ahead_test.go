package kafka

import (
	"slices"
	"sync"
	"testing"
	"time"

	"mocostream/ingest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAskAhead reads batches one at a time, and sees the second one asked for while the first is not taken yet.
func TestAskAhead(t *testing.T) {
	const batches, records = 4, 3
	c := startCluster(t, kfake.SeedTopics(1, "imgs"))
	client := producer(t, c)
	var want []string
	for range batches {
		want = append(want, produce(t, client, "imgs", 0, records)...)
	}
	var mu sync.Mutex
	var asked []int64
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, req.(*kmsg.FetchRequest).Topics[0].Partitions[0].FetchOffset)
		return nil, nil, false
	})
	o := options(c, "imgs")
	o.FetchBytes = 1 // a batch at a time
	s := openSession(t, newSource(t, o), ingest.Progress{})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		mu.Lock()
		seen := slices.Clone(asked)
		mu.Unlock()
		if slices.Equal(seen, []int64{0, records}) {
			break
		}
		if time.Now().After(end) || len(seen) > 2 {
			t.Fatalf("before anything was taken, offsets %v were asked for", seen)
		}
	}
	if got := valuesOf(s.samples(batches * records)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAskAheadInVain closes a reader of which nothing was taken, and one that came to stand elsewhere.
func TestAskAheadInVain(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(1, "imgs"), kfake.SyntheticFetch(kfake.SyntheticBatch{Records: 1, RecordBytes: 100_000}))
	source := newSource(t, options(c, "imgs"))
	s := openSession(t, source, ingest.Progress{})
	s.until("some samples", func() bool { return len(s.got) > 3 })
	r := s.reader.(*reader)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if held := source.Stats().HeldBytes; held != 0 {
		t.Errorf("%d bytes are held after the end", held)
	}
	p := &partition{r: r}
	p.ahead = &ahead{offset: 7, cancel: func() {}, done: make(chan struct{}), answer: &frame{buf: make([]byte, 9)}}
	close(p.ahead.done)
	answer := p.ahead.answer
	p.dropAhead()
	if p.ahead != nil || answer.buf != nil {
		t.Error("an answer that is not wanted is kept")
	}
}
