package loader

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"

	"github.com/apache/arrow/go/v17/arrow"
)

// messages makes n messages over two partitions, every fifth of three images.
func messages(n int) []ingesttest.Sample {
	var all []ingesttest.Sample
	for i := range n {
		items := 1
		if i%5 == 0 {
			items = 3
		}
		for item, s := range ingesttest.Generate(int32(i%2), items, 10+i%50) {
			s.ID = ingest.ID{Source: "cluster/topic", Partition: int32(i % 2), Offset: int64(i / 2), Item: int32(item)}
			s.Items = int32(items)
			all = append(all, s)
		}
	}
	return all
}

// finite ends a stream after its samples, or fails there.
type finite struct {
	*ingesttest.FakeStream
	end error
}

func (f finite) Open(ctx context.Context, done ingest.Progress) (ingest.StreamReader, error) {
	r, err := f.FakeStream.Open(ctx, done)
	return &finiteReader{r, f.end, done, f.Samples()}, err
}

type finiteReader struct {
	ingest.StreamReader
	end  error
	done ingest.Progress
	left []ingesttest.Sample
}

func (f finite) Samples() []ingesttest.Sample { return messages(streamMessages) }

const streamMessages = 60

func (r *finiteReader) Next(ctx context.Context) (arrow.Record, error) {
	r.left = slices.DeleteFunc(r.left, func(s ingesttest.Sample) bool { return r.done.Contains(s.ID) })
	if len(r.left) == 0 {
		return nil, r.end
	}
	rec, err := r.StreamReader.Next(ctx)
	if err == nil {
		r.left = r.left[rec.NumRows():]
	}
	return rec, err
}

func stream(t *testing.T, end error) finite {
	s := ingesttest.NewFakeStream(messages(streamMessages)...)
	s.Mem, s.Rows = checked(t), 1000
	return finite{s, end}
}

func ids(all []received) []ingest.ID {
	var out []ingest.ID
	for _, r := range all {
		out = append(out, r.id)
	}
	return out
}

func TestStreamRunsInOrder(t *testing.T) {
	for _, rows := range []int{1, 7, 1000} {
		for _, limit := range []int64{0, 1, 900} {
			src := stream(t, io.EOF)
			src.Rows = rows
			l := NewStream(src, Options{MemoryLimit: limit, Start: Token{Position: 5}})
			got, token, err := consume(t, l.Run, Token{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range src.Samples() {
				if g := got[i]; g.id != s.ID || g.key != s.Key || g.image != string(s.Image) || g.position != uint64(5+i) ||
					g.epoch != 0 || g.after != (ingest.Position{}) {
					t.Fatalf("sample %d is %+v, want %v", i, g, s)
				}
			}
			if s := l.Stats(); s.Held != 0 || s.Samples != uint64(len(got)) || token.Position != uint64(5+len(got)) {
				t.Errorf("stats are %+v, token %+v", s, token)
			}
		}
	}
}

func TestStreamResumesAnywhere(t *testing.T) {
	src := stream(t, io.EOF)
	all, _, err := consume(t, NewStream(src, Options{}).Run, Token{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(all); cut++ {
		_, token, _ := consume(t, NewStream(src, Options{}).Run, Token{}, cut)
		token = stored(t, token)
		rest, end, err := consume(t, NewStream(src, Options{Start: token}).Run, token, 0)
		if err != nil || !slices.Equal(ids(rest), ids(all[cut:])) || rest[0].position != uint64(cut) {
			t.Fatalf("after %d samples it goes on with %v (error: %v)", cut, ids(rest), err)
		}
		if len(end.Progress.Pending) != 0 {
			t.Fatalf("resumed after %d samples, these stay pending: %v", cut, end.Progress.Pending)
		}
	}
}

func TestStreamSourceErrorComesLast(t *testing.T) {
	boom := errors.New("broker gone")
	src := stream(t, boom)
	got, _, err := consume(t, NewStream(src, Options{}).Run, Token{}, 0)
	if !errors.Is(err, boom) || len(got) != len(src.Samples()) {
		t.Errorf("after %d samples: %v", len(got), err)
	}
}

func TestStreamCancelledLeavesNothing(t *testing.T) {
	for i := range 30 {
		src := stream(t, io.EOF)
		src.Rows = 1 + i%9
		s := ingesttest.NewFakeStream(messages(streamMessages)...) // blocks at its end
		s.Mem, s.Rows = src.Mem, src.Rows
		_, _, err := consume(t, NewStream(s, Options{MemoryLimit: int64(i%3) * 100}).Run, Token{}, 1+rand.IntN(len(src.Samples())))
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled it returns %v", err)
		}
	}
}

func TestStreamStaysBelowItsLimit(t *testing.T) {
	mem := checked(t)
	synctest.Test(t, func(t *testing.T) {
		src := ingesttest.NewFakeStream(ingesttest.Generate(0, 300, 1000)...)
		src.Rows, src.Mem = 4, mem
		const limit = 14_000
		l := NewStream(src, Options{MemoryLimit: limit})
		ctx, cancel := context.WithCancel(t.Context())
		out := make(chan Sample)
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx, out) }()
		for range 300 {
			synctest.Wait()
			if held := l.Stats().Held; held > limit || held == 0 {
				t.Fatalf("%d bytes are held, the limit is %d", held, limit)
			}
			s := <-out
			s.Release()
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
