package shards_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/ingest/shards"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// header makes one that declares more than there is.
func header(t testing.TB, h tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := tar.NewWriter(&out).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestHugeDeclaredSize(t *testing.T) {
	for _, size := range []int64{1 << 33, 1 << 50, 1<<63 - 1} {
		for _, name := range []string{"a.jpg", "a.txt", "a.cls"} {
			content := append(header(t, tar.Header{Name: name, Size: size}), make([]byte, 2048)...)
			for _, c := range [][]byte{content, zip(t, content)} {
				s, path := one(t, c, shards.Options{Labels: true})
				if _, err := s.Manifest(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
					t.Errorf("%s of %d bytes: %v", name, size, err)
				}
			}
		}
	}
}

// A shard of many members and hardly any content takes no more memory than another.
func TestManyMembers(t *testing.T) {
	const members, limit = 10_000, 2 << 20
	path := filepath.Join(t.TempDir(), "x.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for i := range members {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d%s", i, [...]string{".txt", ".jpg", ".cls"}[i%3])}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, shards.Options{Path: path})
	before := heap()
	r, err := s.Read(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := int64(0)
	for {
		record, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n += record.NumRows(); n%640 == 0 {
			if after := heap(); after > before+limit {
				t.Fatalf("heap went from %d to %d bytes after %d samples", before, after, n)
			}
		}
		record.Release()
	}
	if n != (members+1)/3 {
		t.Errorf("%d samples, want %d", n, (members+1)/3)
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestLongName(t *testing.T) {
	s, path := one(t, pack(t, file{strings.Repeat("x/", ingest.MaxName/2) + "a.jpg", "A"}), shards.Options{})
	if _, err := s.Manifest(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
}

func TestLinksInShard(t *testing.T) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, kind := range []byte{tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeBlock} {
		if err := w.WriteHeader(&tar.Header{Name: "a.jpg", Typeflag: kind, Linkname: "/etc/passwd"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ := one(t, out.Bytes(), shards.Options{})
	if _, err := s.Manifest(t.Context()); err == nil || !strings.Contains(err.Error(), "no image") {
		t.Errorf("error is %v", err)
	}
}

// Skipping through a long shard ends when it is cancelled, and stays so.
func TestCancelledInside(t *testing.T) {
	s, _ := one(t, zip(t, generate(t, 0, 40, 5000, false).tar), shards.Options{})
	r, err := s.Read(t.Context(), 0, 39)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx := &expiring{Context: t.Context(), done: make(chan struct{})}
	close(ctx.done)
	for range 2 {
		if record, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", record, err)
		}
	}
}

// expiring is a context that ends between the first look at it and the first read.
type expiring struct {
	context.Context
	done  chan struct{}
	looks int
}

func (e *expiring) Done() <-chan struct{} { return e.done }

func (e *expiring) Err() error {
	if e.looks++; e.looks == 1 {
		return nil
	}
	return context.DeadlineExceeded
}

// Whatever a file holds, counting and reading it end, within bounds, and agree.
func FuzzShard(f *testing.F) {
	f.Add(pack(f, file{"a.jpg", "A"}, file{"a.cls", "1"}, file{"b.cls", "2"}, file{"b.png", "B"}, file{"b.webp", "C"}))
	f.Add(generate(f, 0, 3, 600, true).tar)
	f.Add(zip(f, pack(f, file{"a.jpg", "A"}, file{"dir/", ""}, file{strings.Repeat("long/", 60) + "b.jpg", "B"})))
	f.Add(append(header(f, tar.Header{Name: "a.jpg", Size: 1 << 40}), make([]byte, 1024)...))
	f.Add(pack(f, file{"a.jpg", "A"})[:700])
	sparse := header(f, tar.Header{Name: "a.jpg", Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "x"}})
	f.Add(append(sparse, make([]byte, 1024)...))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			return
		}
		const limit = 1000
		s, _ := one(t, content, shards.Options{Labels: true, MaxBytes: limit})
		m, err := s.Manifest(t.Context())
		if err != nil {
			return
		}
		all, err := read(t, s, 0)
		if err != nil {
			return // a label that is no number
		}
		if int64(len(all)) != m.Samples() {
			t.Fatalf("%d samples read, %d counted", len(all), m.Samples())
		}
		for _, from := range []int64{1, m.Samples() / 2, m.Samples()} {
			r, err := s.Read(t.Context(), 0, from)
			if err != nil {
				t.Fatal(err)
			}
			rest, err := ingesttest.ReadAll(t.Context(), r)
			if r.Close(); err != nil {
				t.Fatal(err)
			}
			for i, got := range rest {
				if !got.Equal(all[from+int64(i)]) || len(got.Image) > limit+1 || got.Offset != from+int64(i) {
					t.Fatalf("sample %d read from %d is %v", i, from, got)
				}
			}
		}
	})
}

// BenchmarkRead reads a shard of 1000 images of 50 kB through.
func BenchmarkRead(b *testing.B) {
	s, _ := bench(b)
	b.SetBytes(1000 * 50_000)
	for b.Loop() {
		readThrough(b, s, 0)
	}
}

// BenchmarkSkip goes to the last of 1000 images.
func BenchmarkSkip(b *testing.B) {
	s, _ := bench(b)
	for b.Loop() {
		readThrough(b, s, 999)
	}
}

func bench(b *testing.B) (*shards.Source, string) {
	path := filepath.Join(b.TempDir(), "x.tar")
	store(b, path, generate(b, 0, 1000, 50_000, false).tar)
	s, err := shards.New(shards.Options{Path: path, ManifestDir: b.TempDir(), Labels: true, Mem: memory.NewGoAllocator()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s, path
}

func readThrough(b *testing.B, s *shards.Source, from int64) {
	r, err := s.Read(b.Context(), 0, from)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for {
		record, err := r.Next(b.Context())
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		record.Release()
	}
}
