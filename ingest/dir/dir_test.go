package dir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/dir"
	"mocostream/ingest/ingesttest"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

func write(t testing.TB, root, name string, content []byte) {
	t.Helper()
	full := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// open makes a source with checked memory over root, and ends the test when it cannot.
func open(t testing.TB, o dir.Options) *dir.Source {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	o.Mem = mem
	if o.ManifestDir == "" {
		o.ManifestDir = t.TempDir()
	}
	s, err := dir.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func read(t *testing.T, s *dir.Source, partition int32) ([]ingesttest.Sample, error) {
	t.Helper()
	r, err := s.Read(t.Context(), partition, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return ingesttest.ReadAll(t.Context(), r)
}

func TestConformance(t *testing.T) {
	ingesttest.TestBounded(t, func(t *testing.T) (ingest.Bounded, []ingesttest.Sample) {
		root := t.TempDir()
		labels := map[string]*int32{
			"cat-x/1.jpg": new(int32(1)), "cat/1.JPG": new(int32(0)), "cat/deep/2.png": new(int32(0)),
			"dog/a.jpeg": new(int32(2)), "root.webp": nil, "zero.png": nil,
		}
		for name := range labels {
			write(t, root, name, bytes.Repeat([]byte(name), 1000*len(name)))
		}
		write(t, root, "zero.png", nil)
		write(t, root, "notes.txt", []byte("no image"))
		write(t, root, "empty/.hidden.jpg", []byte("hidden"))
		s := open(t, dir.Options{Root: root, Labels: true})
		m, err := s.Manifest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var want []ingesttest.Sample
		for i, name := range []string{"cat-x/1.jpg", "cat/1.JPG", "cat/deep/2.png", "dog/a.jpeg", "root.webp", "zero.png"} {
			w := ingesttest.Sample{Image: bytes.Repeat([]byte(name), 1000*len(name))}
			w.ID = ingest.ID{Source: m.Hash(), Partition: int32(i)}
			w.Key, w.Label = name, labels[name]
			if name == "zero.png" {
				w.Image = nil
			}
			want = append(want, w)
		}
		return s, want
	})
}

func TestClasses(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"b/1.jpg", "a-z/1.jpg", "a/1.jpg", "none/readme.txt", "top.jpg"} {
		write(t, root, name, []byte("x"))
	}
	got, err := open(t, dir.Options{Root: root, Labels: true}).Classes(t.Context())
	if err != nil || !slices.Equal(got, []string{"a", "a-z", "b"}) {
		t.Errorf("classes are %v, %v", got, err)
	}
	if got, err := open(t, dir.Options{Root: root}).Classes(t.Context()); err != nil || got != nil {
		t.Errorf("classes of an unlabelled source are %v, %v", got, err)
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]dir.Options{
		"set ingest.dir": {ManifestDir: "m"},
		"its manifest":   {Root: "r"},
		"largest image":  {Root: "r", ManifestDir: "m", MaxBytes: 2 << 30},
	} {
		if _, err := dir.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
}

func TestNothingToRead(t *testing.T) {
	empty := t.TempDir()
	write(t, empty, "a/readme.md", []byte("x"))
	file := filepath.Join(empty, "a", "readme.md")
	for root, want := range map[string]string{
		filepath.Join(empty, "none"): "no such file or directory; create it or set ingest.dir",
		empty:                        "no JPEG, PNG or WebP file below " + empty,
		file:                         file + " is no folder; set ingest.dir",
	} {
		_, err := open(t, dir.Options{Root: root}).Manifest(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
}

func TestManifestCancelled(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.jpg", []byte("x"))
	s := open(t, dir.Options{Root: root})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Manifest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := s.Manifest(t.Context()); err != nil {
		t.Errorf("a cancelled listing spoils the next: %v", err)
	}
}

func TestChanged(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"gone":    os.Remove,
		"longer":  func(path string) error { return os.WriteFile(path, []byte("12345678901"), 0o644) },
		"shorter": func(path string) error { return os.Truncate(path, 3) },
		"folder": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
		},
		"pipe": func(path string) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o644))
		},
	} {
		root := t.TempDir()
		write(t, root, "a.jpg", []byte("1234567890"))
		s := open(t, dir.Options{Root: root})
		if _, err := read(t, s, 0); err != nil {
			t.Fatal(err)
		}
		if err := change(filepath.Join(root, "a.jpg")); err != nil {
			t.Fatal(err)
		}
		_, err := read(t, s, 0)
		if !errors.Is(err, ingest.ErrChanged) || !strings.Contains(err.Error(), filepath.Join(root, "a.jpg")) ||
			!strings.Contains(err.Error(), "start a new run") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShortenedWhileRead(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.jpg", []byte("1234567890"))
	r, err := open(t, dir.Options{Root: root}).Read(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(root, "a.jpg"), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, ingest.ErrChanged) {
		t.Errorf("error is %v", err)
	}
}

// A file added later changes nothing until a new list is asked for.
func TestFrozen(t *testing.T) {
	root, manifests := t.TempDir(), t.TempDir()
	write(t, root, "b.jpg", []byte("b"))
	first, err := open(t, dir.Options{Root: root, ManifestDir: manifests}).Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, root, "a.jpg", []byte("a"))
	frozen := open(t, dir.Options{Root: root, ManifestDir: manifests, ManifestHash: first.Hash()})
	got, err := read(t, frozen, 0)
	if err != nil || len(got) != 1 || got[0].Key != "b.jpg" || got[0].Source != first.Hash() {
		t.Errorf("got %v, %v", got, err)
	}
	anew, err := open(t, dir.Options{Root: root, ManifestDir: manifests}).Manifest(t.Context())
	if err != nil || anew.Len() != 2 {
		t.Errorf("a new list is %v, %v", anew, err)
	}

	lost := open(t, dir.Options{Root: root, ManifestHash: first.Hash()})
	if _, err := lost.Manifest(t.Context()); !errors.Is(err, ingest.ErrChanged) || !strings.Contains(err.Error(), first.Hash()) {
		t.Errorf("manifest lost, folder changed: %v", err)
	}
	if err := os.Remove(filepath.Join(root, "a.jpg")); err != nil {
		t.Fatal(err)
	}
	lost = open(t, dir.Options{Root: root, ManifestHash: first.Hash()})
	if m, err := lost.Manifest(t.Context()); err != nil || m.Hash() != first.Hash() {
		t.Errorf("manifest lost, folder the same: %v", err)
	}
}

func TestOversize(t *testing.T) {
	root := t.TempDir()
	content := bytes.Repeat([]byte("0123456789"), 1000)
	for i, size := range []int{99, 100, 101, 10_000} {
		write(t, root, fmt.Sprintf("%d.jpg", i), content[:size])
	}
	s := open(t, dir.Options{Root: root, MaxBytes: 100})
	for i, want := range []int{99, 100, 101, 101} {
		got, err := read(t, s, int32(i))
		if err != nil || len(got) != 1 || !bytes.Equal(got[0].Image, content[:want]) {
			t.Errorf("file %d: %v, %v", i, got, err)
		}
	}
}

// The list of a very large sparse file costs nothing and reading it no more than the cap.
func TestHugeFile(t *testing.T) {
	root := t.TempDir()
	write(t, root, "huge.jpg", nil)
	if err := os.Truncate(filepath.Join(root, "huge.jpg"), 1<<40); err != nil {
		t.Skipf("file system without sparse files: %v", err)
	}
	s := open(t, dir.Options{Root: root, MaxBytes: 1000})
	if got, err := read(t, s, 0); err != nil || len(got) != 1 || len(got[0].Image) != 1001 {
		t.Errorf("got %v, %v", got, err)
	}
}

func BenchmarkRead(b *testing.B) {
	root := b.TempDir()
	for i := range 64 {
		write(b, root, fmt.Sprintf("%d.jpg", i), make([]byte, 100<<10))
	}
	s, err := dir.New(dir.Options{Root: root, ManifestDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.SetBytes(100 << 10)
	var i int32
	for b.Loop() {
		r, err := s.Read(b.Context(), i%64, 0)
		if err != nil {
			b.Fatal(err)
		}
		record, err := r.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		record.Release()
		r.Close()
		i++
	}
}
