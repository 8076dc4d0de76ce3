package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mocostream/ingest"

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestBomb serves a message that decompresses to 400 MB, behind another one in its batch.
func TestBomb(t *testing.T) {
	const size, offsets = 400 << 20, 2
	var packed bytes.Buffer
	w := compress.Zstd.Codec().NewWriter(&packed)
	small := makeRecord(0, "before")
	head := binary.AppendVarint([]byte{0, 0, 2, 1}, size) // time and offset deltas 0 and 1, no key
	for _, part := range [][]byte{binary.AppendVarint(nil, int64(len(small))), small, binary.AppendVarint(nil, int64(len(head)+size+1)), head} {
		w.Write(part)
	}
	zeros := make([]byte, 1<<20)
	for range size / len(zeros) {
		w.Write(zeros)
	}
	w.Write([]byte{0}) // no headers
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, kfake.SeedTopics(1, "imgs"))
	served := sealBatch(0, offsets-1, compress.Zstd, offsets, packed.Bytes())
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		fetch := req.(*kmsg.FetchRequest)
		if fetch.Topics[0].Partitions[0].FetchOffset > 0 {
			return nil, nil, false
		}
		return fetchAnswer(fetch, served, offsets), nil, true
	})
	o := options(c, "imgs")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	source := newSource(t, o)
	s := openSession(t, source, ingest.Progress{})
	got := s.samples(2)
	runtime.ReadMemStats(&after)
	if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > o.MemoryLimit {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
	if string(got[0].Image) != "before" || len(got[1].Image) != 0 || !strings.Contains(got[1].Problem, "above the limit") {
		t.Errorf("got %v, problem %q", got, got[1].Problem)
	}
	if stats := source.Stats().Partitions[0]; stats.TooLarge != 1 || stats.Lost != 0 {
		t.Errorf("stats are %+v", stats)
	}
}

// TestLargeMessages reads large messages from many partitions through a small budget, in both orders.
func TestLargeMessages(t *testing.T) {
	const size, messages = 1 << 20, 40
	for _, merge := range []MergeOrder{MergeArrival, MergeDeterministic} {
		t.Run(string(merge), func(t *testing.T) {
			c := startCluster(t, kfake.SeedTopics(8, "imgs"), kfake.SyntheticFetch(kfake.SyntheticBatch{Records: 1, RecordBytes: size}))
			o := options(c, "imgs")
			o.MaxBytes, o.MemoryLimit, o.Merge, o.Timeout = 3<<19, 24<<20, merge, patience
			source := newSource(t, o)
			s := openSession(t, source, ingest.Progress{})
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			var most int64
			for n := 0; n < messages; {
				rec, err := s.reader.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				n += int(rec.NumRows())
				rec.Release()
				most = max(most, source.Stats().HeldBytes)
			}
			limit := o.MemoryLimit
			if merge == MergeDeterministic {
				limit += 2*size + 1<<20 // what the merge is waiting for is let in always
			}
			if most > limit {
				t.Errorf("%d MiB were held, limit %d MiB", most>>20, limit>>20)
			}
			if err := s.reader.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestMessageAboveMemory(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(1, "imgs"), kfake.SyntheticFetch(kfake.SyntheticBatch{Records: 1, RecordBytes: 9 << 20}))
	o := options(c, "imgs")
	o.MemoryLimit = 24 << 20
	s := openSession(t, newSource(t, o), ingest.Progress{})
	if err := s.fails(); !strings.Contains(err.Error(), "raise loader.memory_limit") {
		t.Errorf("Next: %v", err)
	}
}

func TestBudget(t *testing.T) {
	b := newBudget(10)
	var calm, urgent atomic.Bool
	urgent.Store(true)
	ctx := t.Context()
	first, err := b.take(ctx, 8, &calm)
	if err != nil {
		t.Fatal(err)
	}
	granted := make(chan string, 3)
	late := make(chan struct{})
	go func() {
		defer close(late)
		if b.acquire(ctx, 5, &calm) == nil {
			granted <- "calm"
		}
	}()
	waits(t, b, 1)
	if err := b.acquire(ctx, 5, &urgent); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := b.acquire(cancelled, 1, &calm); err != context.Canceled {
		t.Errorf("acquire behind a waiter: %v", err)
	}
	first.share().release()
	if len(granted) != 0 || b.inUse() != 13 {
		t.Errorf("%d in use, %d granted", b.inUse(), len(granted))
	}
	first.release()
	<-late
	if b.inUse() != 10 {
		t.Errorf("%d in use, want 10", b.inUse())
	}
	b.release(5)
	b.release(5)
	if err := b.acquire(ctx, 99, &calm); err != nil { // alone, anything goes
		t.Error(err)
	}
}

// waits waits until n wait for the budget.
func waits(t *testing.T, b *budget, n int) {
	t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		b.mu.Lock()
		waiting := len(b.waiting)
		b.mu.Unlock()
		if waiting == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d wait, want %d", waiting, n)
		}
	}
}

func TestBook(t *testing.T) {
	key := bookKey{"kafka:c/t/1", 3}
	b, err := openBook(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.begin(key, 10)
	b.begin(key, 99) // known already
	for offset := int64(10); offset < 10+3*maxWitnesses; offset++ {
		b.note(key, []witness{{Offset: offset, CRC: uint32(offset)}})
	}
	if n := len(b.entries[key].witnesses); n > maxWitnesses {
		t.Errorf("%d witnesses are kept", n)
	}
	var done ingest.Progress
	done.AddRange(key.source, key.partition, 0, 5000)
	state, err := b.seal(done)
	if err != nil {
		t.Fatal(err)
	}
	again, err := openBook(state)
	if err != nil {
		t.Fatal(err)
	}
	if start, ok := again.start(key); start != 10 || !ok {
		t.Errorf("start is %d, %v", start, ok)
	}
	w, ok := again.last(key, done.Streams[key.source][3])
	if !ok || w.Offset >= 5000 || w.Offset < 4990 || w.CRC != uint32(w.Offset) {
		t.Errorf("last is %+v, %v", w, ok)
	}
	second, err := again.seal(done)
	if err != nil || !bytes.Equal(state, second) {
		t.Errorf("sealed again: %s, %v; want %s", second, err, state)
	}
	b.note(key, []witness{{Offset: 4000}, {Offset: 4001}}) // read again from there
	got := b.entries[key].witnesses
	if !slices.IsSortedFunc(got, func(a, b witness) int { return int(a.Offset - b.Offset) }) || got[len(got)-1].Offset != 4001 {
		t.Errorf("witnesses end at %+v", got[len(got)-1])
	}
	for _, bad := range []string{"{", `{"version":2}`, `{"version":1,"partitions":[{"source":"s","start":-1}]}`,
		`{"version":1,"partitions":[{"source":"s","start":5,"last":{"offset":4}}]}`} {
		if _, err := openBook([]byte(bad)); err == nil {
			t.Errorf("%s is taken for a state", bad)
		}
	}
}
