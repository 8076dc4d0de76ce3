package shards_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/ingest/shards"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

type file struct{ name, content string }

// pack makes a tar of files; names that end in a slash are folders.
func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content))}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zip(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func store(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// open makes a source with checked memory.
func open(t testing.TB, o shards.Options) *shards.Source {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	o.Mem = mem
	if o.ManifestDir == "" {
		o.ManifestDir = t.TempDir()
	}
	s, err := shards.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func read(t testing.TB, s *shards.Source, partition int32) ([]ingesttest.Sample, error) {
	t.Helper()
	r, err := s.Read(t.Context(), partition, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return ingesttest.ReadAll(t.Context(), r)
}

// one stores a single shard and opens it.
func one(t testing.TB, content []byte, o shards.Options) (*shards.Source, string) {
	t.Helper()
	o.Path = filepath.Join(t.TempDir(), "x.tar")
	store(t, o.Path, content)
	return open(t, o), o.Path
}

func TestGrouping(t *testing.T) {
	type found struct {
		key, image string
		label      string
	}
	for name, test := range map[string]struct {
		files []file
		want  []found
	}{
		"label of a sample without image is not the next one's": {
			[]file{{"a.cls", "5"}, {"b.jpg", "B"}, {"c.cls", "6"}, {"d.json", "{}"}, {"c.jpg", "C"}},
			[]found{{"b", "B", "-"}, {"c", "C", "-"}}},
		"several images": {
			[]file{{"a.jpg", "1"}, {"a.png", "2"}, {"a.cls", "3"}, {"b.png", "4"}},
			[]found{{"a", "1", "3"}, {"b", "4", "-"}}},
		"a key that comes again is another sample": {
			[]file{{"a.jpg", "1"}, {"b.jpg", "2"}, {"a.jpg", "3"}},
			[]found{{"a", "1", "-"}, {"b", "2", "-"}, {"a", "3", "-"}}},
		"names": {
			[]file{{"./v1.2/a.jpg", "1"}, {"x/.hidden.jpg", "2"}, {"._a.jpg", "3"}, {"a.seg.png", "4"}, {"nodot", "5"},
				{"d.jpg/", ""}, {"x/B.JpG", "6"}, {"x/B.CLS", " -7 "}},
			[]found{{"./v1.2/a", "1", "-"}, {"x/B", "6", "-7"}}},
		"not UTF-8": {[]file{{"a\xff.jpg", "1"}}, []found{{"a\uFFFD", "1", "-"}}},
	} {
		s, _ := one(t, pack(t, test.files...), shards.Options{Labels: true})
		samples, err := read(t, s, 0)
		var got []found
		for _, s := range samples {
			label := "-"
			if s.Label != nil {
				label = fmt.Sprint(*s.Label)
			}
			got = append(got, found{s.Key, string(s.Image), label})
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, test.want)
		}
	}
}

func TestLabelErrors(t *testing.T) {
	for _, text := range []string{"", "cat", "1.5", "4294967296", strings.Repeat(" ", 40) + "1"} {
		content := pack(t, file{"a.jpg", "A"}, file{"a.cls", text})
		s, path := one(t, content, shards.Options{Labels: true})
		if got, err := read(t, s, 0); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "a.cls") {
			t.Errorf("label %q: %v, %v", text, got, err)
		}
		s, _ = one(t, content, shards.Options{})
		if got, err := read(t, s, 0); err != nil || len(got) != 1 || got[0].Label != nil {
			t.Errorf("label %q not wanted: %v, %v", text, got, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]shards.Options{
		"set ingest.shards": {ManifestDir: "m"},
		"its manifest":      {Path: "r"},
		"largest image":     {Path: "r", ManifestDir: "m", MaxBytes: -1},
	} {
		if _, err := shards.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
}

func TestNothingToRead(t *testing.T) {
	root := t.TempDir()
	store(t, filepath.Join(root, "none", "a.txt"), nil)
	store(t, filepath.Join(root, "texts", "a.tar"), pack(t, file{"a.v2.jpg", "x"}))
	store(t, filepath.Join(root, "junk.tar"), bytes.Repeat([]byte("junk"), 1000))
	store(t, filepath.Join(root, "empty.tar"), nil)
	for path, want := range map[string]string{
		"gone.tar":  "no such file or directory; set ingest.shards",
		"gone-*":    "no tar, Parquet or Arrow file matches " + root,
		"[":         "syntax error in pattern",
		"none":      "no tar, Parquet or Arrow file matches " + root,
		"texts":     "no image in the 1 shards",
		"junk.tar":  "junk.tar: sample 0, before byte 512",
		"empty.tar": "end marker",
	} {
		_, err := open(t, shards.Options{Path: filepath.Join(root, path)}).Manifest(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q in it", path, err, want)
		}
	}
}

// However a shard is cut, it is noticed before anything is trained on.
func TestCutShort(t *testing.T) {
	plain := generate(t, 0, 4, 700, false).tar
	zipped := zip(t, plain)
	check := func(content []byte, cut int) {
		t.Helper()
		s, path := one(t, content[:cut], shards.Options{})
		_, err := s.Manifest(t.Context())
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("cut at %d of %d: %v", cut, len(content), err)
		}
	}
	for cut := 0; cut <= len(plain)-1024; cut += 128 {
		check(plain, cut)
	}
	for cut := 2; cut < len(zipped); cut += 97 {
		check(zipped, cut)
	}
}

func TestDamagedZip(t *testing.T) {
	zipped := zip(t, generate(t, 0, 4, 700, false).tar)
	for at := 10; at < len(zipped); at += 53 { // before that are flags and the time
		broken := bytes.Clone(zipped)
		broken[at] ^= 0x10
		s, path := one(t, broken, shards.Options{})
		if _, err := s.Manifest(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("flip at %d of %d: %v", at, len(zipped), err)
		}
	}
}

func TestChanged(t *testing.T) {
	before := pack(t, file{"a.jpg", "A"}, file{"b.jpg", "B"})
	for name, after := range map[string][]byte{
		"gone":    nil,
		"longer":  pack(t, file{"a.jpg", "A"}, file{"b.jpg", "B"}, file{"c.jpg", "C"}),
		"fewer":   pack(t, file{"a.jpg", "A"}, file{"b.txt", "B"}),
		"shorter": before[:1024],
	} {
		s, path := one(t, before, shards.Options{})
		if _, err := s.Manifest(t.Context()); err != nil {
			t.Fatal(err)
		}
		store(t, path, after)
		if name == "gone" {
			os.Remove(path)
		}
		_, err := read(t, s, 0)
		if !errors.Is(err, ingest.ErrChanged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "start a new run") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, path := one(t, pack(t, file{"a.jpg", "A"}, file{"b.txt", "B"}), shards.Options{})
	if _, err := s.Manifest(t.Context()); err != nil {
		t.Fatal(err)
	}
	store(t, path, before)
	if _, err := read(t, s, 0); !errors.Is(err, ingest.ErrChanged) {
		t.Errorf("more: %v", err)
	}
	store(t, path, append(before[:700:700], make([]byte, len(before)-700)...))
	if _, err := read(t, s, 0); err != nil {
		t.Errorf("same count: %v", err)
	}
	damaged := bytes.Clone(before)
	damaged[1024+5] ^= 1 // in the second header
	store(t, path, damaged)
	if _, err := read(t, s, 0); err == nil || !strings.Contains(err.Error(), "sample 0, before byte 1536") {
		t.Errorf("damaged: %v", err)
	}
}

func TestFrozen(t *testing.T) {
	root, manifests := t.TempDir(), t.TempDir()
	store(t, filepath.Join(root, "b.tar"), pack(t, file{"b.jpg", "B"}))
	first, err := open(t, shards.Options{Path: root, ManifestDir: manifests}).Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store(t, filepath.Join(root, "a.tar"), pack(t, file{"a.jpg", "A"}))
	s := open(t, shards.Options{Path: filepath.Join(root, "*.tar"), ManifestDir: manifests, ManifestHash: first.Hash()})
	got, err := read(t, s, 0)
	if err != nil || len(got) != 1 || got[0].Key != "b" || got[0].Source != first.Hash() {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOversize(t *testing.T) {
	big := strings.Repeat("0123456789", 500)
	for _, packed := range []func(testing.TB, []byte) []byte{
		func(_ testing.TB, b []byte) []byte { return b }, zip,
	} {
		content := packed(t, pack(t, file{"a.jpg", big[:100]}, file{"b.jpg", big}, file{"c.jpg", big[:101]}, file{"d.jpg", "d"}))
		s, _ := one(t, content, shards.Options{MaxBytes: 100})
		got, err := read(t, s, 0)
		if err != nil || len(got) != 4 {
			t.Fatalf("got %v, %v", got, err)
		}
		for i, want := range []string{big[:100], big[:101], big[:101], "d"} {
			if string(got[i].Image) != want {
				t.Errorf("image %d has %d bytes, want %d", i, len(got[i].Image), len(want))
			}
		}
	}
}

// A record is about 1 MiB or 64 samples, whichever comes first, or one image.
func TestRecordSize(t *testing.T) {
	s, _ := one(t, generate(t, 0, 150, 10, false).tar, shards.Options{})
	if got := rows(t, s); !slices.Equal(got, []int64{64, 64, 22}) {
		t.Errorf("records of small images have %v rows", got)
	}
	s, _ = one(t, generate(t, 0, 7, 400<<10, false).tar, shards.Options{})
	if got := rows(t, s); !slices.Equal(got, []int64{2, 2, 2, 1}) {
		t.Errorf("records of large images have %v rows", got)
	}
	s, _ = one(t, generate(t, 0, 2, 3<<20, false).tar, shards.Options{})
	if got := rows(t, s); !slices.Equal(got, []int64{1, 1}) {
		t.Errorf("records of huge images have %v rows", got)
	}
}

func rows(t *testing.T, s *shards.Source) []int64 {
	t.Helper()
	r, err := s.Read(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []int64
	for {
		record, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, record.NumRows())
		record.Release()
	}
}
