package sink

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/train"
)

// shelf is a place for checkpoints whose store can be opened again and again, one at a time.
type shelf interface {
	open(t *testing.T, o Options) (s train.Checkpoints, end func())
	// damage replaces a file of a checkpoint by what edit makes of it; nil removes it.
	damage(t *testing.T, step int64, name string, edit func([]byte) []byte)
	mend(t *testing.T, step int64, name string, whole []byte)
	steps(t *testing.T) []int64 // of which there are files, ascending
}

// shelves are what the conformance suite runs over.
var shelves = map[string]func(t *testing.T) shelf{
	"local":  func(t *testing.T) shelf { return localShelf{t.TempDir()} },
	"memory": func(t *testing.T) shelf { return &s3Shelf{bucket: newBucket(), cache: t.TempDir()} },
	"server": func(t *testing.T) shelf { return &s3Shelf{bucket: serve(t, nil), cache: t.TempDir()} },
}

type localShelf struct{ dir string }

func (l localShelf) open(t *testing.T, o Options) (train.Checkpoints, func()) {
	s := reopen(t, l.dir, o)
	return s, func() { s.Close() }
}

func (l localShelf) damage(t *testing.T, step int64, name string, edit func([]byte) []byte) {
	path := filepath.Join(l.dir, stepName(step), name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b = edit(b); b == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (l localShelf) mend(t *testing.T, step int64, name string, whole []byte) {
	overwrite(t, filepath.Join(l.dir, stepName(step), name), whole)
}

func (l localShelf) steps(t *testing.T) []int64 {
	steps, err := listSteps(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(steps)
	return steps
}

// s3Shelf is the prefix runs/a of a bucket.
type s3Shelf struct {
	bucket bucketOfTest
	cache  string
	gone   string // key of the last object that was damaged
}

// bucketOfTest is a client of a bucket whose objects a test can look at and change.
type bucketOfTest interface {
	objectClient
	keys(prefix string) []string
	change(key string, edit func([]byte) []byte)
}

func (s *s3Shelf) options(o Options) S3Options {
	return S3Options{
		Client: s.bucket, Bucket: "b", Prefix: "/runs/a/", CacheDir: s.cache, Owner: "test",
		Keep: o.Keep, KeepEvery: o.KeepEvery, Warn: o.Warn, Point: o.Point,
	}
}

func (s *s3Shelf) open(t *testing.T, o Options) (train.Checkpoints, func()) {
	t.Helper()
	st, err := OpenS3Store(t.Context(), s.options(o))
	if err != nil {
		t.Fatal(err)
	}
	return st, func() { st.Close(t.Context()) }
}

func (s *s3Shelf) damage(t *testing.T, step int64, name string, edit func([]byte) []byte) {
	found := 0
	for _, key := range s.bucket.keys("runs/a/" + stepName(step) + "-") {
		if strings.HasSuffix(key, "/"+name) {
			s.bucket.change(key, edit)
			s.gone = key
			found++
		}
	}
	if found != 1 {
		t.Fatalf("%d objects %s of step %d", found, name, step)
	}
}

func (s *s3Shelf) mend(_ *testing.T, _ int64, _ string, whole []byte) {
	s.bucket.change(s.gone, func([]byte) []byte { return whole })
}

func (s *s3Shelf) steps(*testing.T) []int64 {
	var steps []int64
	for _, key := range s.bucket.keys("runs/a/step-") {
		folder, _, _ := strings.Cut(strings.TrimPrefix(key, "runs/a/"), "/")
		if step, _, ok := parseObjectFolder(folder); ok && !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	return steps
}

func put(t *testing.T, s train.Checkpoints, cs ...*train.Checkpoint) {
	t.Helper()
	for _, c := range cs {
		if name, err := s.Save(t.Context(), c); err != nil || name != stepName(c.Step) {
			t.Fatalf("save step %d: %q, %v", c.Step, name, err)
		}
	}
}

func newestIs(t *testing.T, s train.Checkpoints, step int64, want float32) *train.Checkpoint {
	t.Helper()
	c, name, err := s.Newest(t.Context())
	if err != nil || name != stepName(step) || c.Step != step || mark(t, c) != want {
		t.Fatalf("newest is %q, %v, want step %d", name, err, step)
	}
	return c
}

// TestStores is the conformance suite of checkpoint stores.
func TestStores(t *testing.T) {
	for name, make := range shelves {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storeSuite(t, make)
		})
	}
}

func storeSuite(t *testing.T, make func(t *testing.T) shelf) {
	for what, test := range map[string]func(*testing.T, shelf){
		"round trip": testRoundTrip, "prune": testPrune, "torn": testTorn, "only torn": testOnlyTorn,
		"replace": testReplace, "failed save": testFailedSave, "killed": testKilled,
	} {
		t.Run(what, func(t *testing.T) { test(t, make(t)) })
	}
}

func testRoundTrip(t *testing.T, h shelf) {
	s, end := h.open(t, Options{})
	if _, _, err := s.Newest(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("new place: error %v, want fs.ErrNotExist", err)
	}
	want := checkpoint(20, 0.5)
	want.Files = map[string]io.WriterTo{"replay.arrow": blob("pictures")}
	want.Linked = linked(t, "segment.bin", "images")
	put(t, s, checkpoint(1, 0), want)
	want.Files, want.Linked = nil, nil
	want.Extra["dead_letters"] = json.RawMessage(`{"bytes":12}`) // whitespace is not kept
	for range 2 {
		got := newestIs(t, s, 20, 0.5)
		sortTensors(want)
		sortTensors(got)
		equal(t, "checkpoint", got, want)
		for name, want := range map[string]string{"replay.arrow": "pictures", "segment.bin": "images"} {
			f, err := got.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(f)
			if string(b) != want || err != nil || f.Close() != nil {
				t.Errorf("%s holds %q, %v", name, b, err)
			}
		}
		if _, err := got.Open("other"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file that is not there: error %v", err)
		}
		end()
		s, end = h.open(t, Options{}) // the next process
	}
	end()
}

// linked is a file outside of the run folder.
func linked(t *testing.T, name, content string) map[string]train.LinkedFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "somewhere")
	overwrite(t, path, []byte(content))
	return map[string]train.LinkedFile{name: {Path: path, Bytes: int64(len(content)), SHA256: hexSum([]byte(content))}}
}

func testPrune(t *testing.T, h shelf) {
	s, end := h.open(t, Options{Keep: 2, KeepEvery: 20})
	defer func() { end() }()
	for step := int64(10); step <= 50; step += 10 {
		if step == 30 { // by the next process
			end()
			s, end = h.open(t, Options{Keep: 2, KeepEvery: 20})
		}
		put(t, s, checkpoint(step, 0))
	}
	equal(t, "kept", h.steps(t), []int64{20, 40, 50})
	h.damage(t, 50, modelFile, func(b []byte) []byte { return b[1:] })
	newestIs(t, s, 40, 0)
	put(t, s, checkpoint(60, 1)) // the damaged one goes and counts for nothing
	equal(t, "kept", h.steps(t), []int64{20, 40, 60})
}

func testTorn(t *testing.T, h shelf) {
	var told warnings
	s, end := h.open(t, Options{Warn: told.add})
	defer end()
	put(t, s, checkpoint(1, 1), checkpoint(2, 2))
	for _, name := range []string{modelFile, optimizerFile, stateFile} {
		for what, edit := range map[string]func([]byte) []byte{
			"gone":    func([]byte) []byte { return nil },
			"empty":   func([]byte) []byte { return []byte{} },
			"cut":     func(b []byte) []byte { return b[:len(b)-1] },
			"flipped": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		} {
			var whole []byte
			h.damage(t, 2, name, func(b []byte) []byte { whole = slices.Clone(b); return edit(b) })
			told = nil
			newestIs(t, s, 1, 1)
			if len(told) != 1 || !strings.Contains(told[0], stepName(2)) || !strings.Contains(told[0], name) {
				t.Fatalf("%s %s: told %q", name, what, told)
			}
			h.mend(t, 2, name, whole)
		}
	}
	newestIs(t, s, 2, 2)
}

func testOnlyTorn(t *testing.T, h shelf) {
	s, end := h.open(t, Options{})
	defer end()
	put(t, s, checkpoint(1, 1), checkpoint(2, 2))
	for step := int64(1); step <= 2; step++ {
		h.damage(t, step, stateFile, func([]byte) []byte { return nil })
	}
	_, _, err := s.Newest(t.Context())
	if !errors.Is(err, ErrTorn) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "bring one back") {
		t.Errorf("error %v, want ErrTorn and a remedy", err)
	}
}

// The step that a run reaches again replaces the damaged one.
func testReplace(t *testing.T, h shelf) {
	s, end := h.open(t, Options{Keep: 2})
	defer end()
	put(t, s, checkpoint(10, 1), checkpoint(20, 2))
	h.damage(t, 20, modelFile, func(b []byte) []byte { return b[:9] })
	newestIs(t, s, 10, 1)
	put(t, s, checkpoint(20, 3))
	newestIs(t, s, 20, 3)
	equal(t, "kept", h.steps(t), []int64{10, 20})
}

type brokenPart struct{}

func (brokenPart) WriteTo(w io.Writer) (int64, error) {
	n, _ := w.Write([]byte("half"))
	return int64(n), errors.New("the buffer is gone")
}

func testFailedSave(t *testing.T, h shelf) {
	s, end := h.open(t, Options{Keep: 1})
	defer end()
	put(t, s, checkpoint(1, 1))
	c := checkpoint(2, 2)
	c.Files = map[string]io.WriterTo{"replay.arrow": brokenPart{}}
	if _, err := s.Save(t.Context(), c); err == nil || !strings.Contains(err.Error(), "buffer is gone") || !strings.Contains(err.Error(), stepName(2)) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Save(ctx, checkpoint(2, 2)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	newestIs(t, s, 1, 1)
	put(t, s, checkpoint(2, 3))
	equal(t, "kept", h.steps(t), []int64{2})
}

// A process that ends at any of the points leaves the older checkpoint or the whole new one, and what it left goes.
func testKilled(t *testing.T, h shelf) {
	s, end := h.open(t, Options{Keep: 2})
	put(t, s, checkpoint(1, 1))
	end()
	newest, points := float32(1), 0
	for n, step := 0, int64(2); ; n, step = n+1, step+1 {
		at := ""
		died := func() (died bool) {
			left := 1 << 30
			s, end := h.open(t, Options{Keep: 2, Point: func(name string) {
				if left--; left < 0 {
					at = name
					panic(errKilled)
				}
			}})
			defer end()
			defer func() {
				died = recover() != nil
				left = 1 << 30
			}()
			left = n
			put(t, s, checkpoint(step, float32(step)))
			return false
		}()
		s, end := h.open(t, Options{})
		c, _, err := s.Newest(t.Context())
		if err != nil {
			t.Fatalf("killed at %s: %v", at, err)
		}
		got := mark(t, c)
		if got != newest && got != float32(step) || !died && got != float32(step) {
			t.Fatalf("killed at %q: newest is %g, want %g or %d", at, got, newest, step)
		}
		newest = got
		end()
		if !died {
			points = n
			break
		}
	}
	if points < 8 {
		t.Errorf("there are only %d points", points)
	}
	if got := h.steps(t); len(got) != 2 {
		t.Errorf("kept %v, want two", got)
	}
}
