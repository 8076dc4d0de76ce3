package sink

import (
	"bytes"
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

	"mocostream/internal/safetensors"
	"mocostream/train"

	"golang.org/x/sys/unix"
)

func TestSaveAndNewest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "run")
	s := reopen(t, dir, Options{})
	if _, _, err := s.Newest(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("new folder: error %v, want fs.ErrNotExist", err)
	}
	want := checkpoint(2, 0.5)
	save(t, s, checkpoint(1, 0), want)
	got, name, err := s.Newest(t.Context())
	if err != nil || name != "step-000000002" {
		t.Fatalf("newest is %q, %v", name, err)
	}
	want.Extra["dead_letters"] = json.RawMessage(`{"bytes":12}`) // whitespace is not kept
	sortTensors(want)
	sortTensors(got)
	equal(t, "checkpoint", got, want)
}

func sortTensors(c *train.Checkpoint) {
	slices.SortFunc(c.Model, func(a, b safetensors.Tensor) int { return strings.Compare(a.Name, b.Name) })
}

func TestEqualStatesAreEqualBytes(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	x, y := checkpoint(3, 1), checkpoint(3, 1)
	x.Extra, y.Extra = nil, map[string]json.RawMessage{}
	slices.Reverse(y.Model)
	save(t, reopen(t, a, Options{}), x)
	save(t, reopen(t, b, Options{}), checkpoint(2, 9), y)
	equal(t, "step-000000003", tree(t, filepath.Join(a, "step-000000003")), tree(t, filepath.Join(b, "step-000000003")))
	c, err := Read(filepath.Join(a, "step-000000003")) // and what was read is the same state again
	if err != nil {
		t.Fatal(err)
	}
	d := t.TempDir()
	save(t, reopen(t, d, Options{}), c)
	equal(t, "saved again", tree(t, d), tree(t, a))
	if text := tree(t, a)["step-000000003/state.json"]; strings.Contains(text, a) {
		t.Errorf("state.json names the folder: %s", text)
	}
}

// The file of a checkpoint that is cut or has one bit turned, anywhere, is never loaded.
func TestTornEverywhere(t *testing.T) {
	dir := t.TempDir()
	var told warnings
	s := reopen(t, dir, Options{Warn: told.add})
	save(t, s, checkpoint(1, 1), checkpoint(2, 2))
	for _, name := range []string{modelFile, optimizerFile, stateFile} {
		path := filepath.Join(dir, "step-000000002", name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range offsets(len(whole)) {
			flipped := bytes.Clone(whole)
			flipped[at] ^= 1 << (at % 8)
			for _, damaged := range [][]byte{whole[:at], flipped} {
				overwrite(t, path, damaged)
				told = nil
				c, newest, err := s.Newest(t.Context())
				if err != nil || newest != "step-000000001" || mark(t, c) != 1 {
					t.Fatalf("%s damaged at %d: newest is %q, %v", name, at, newest, err)
				}
				if len(told) != 1 || !strings.Contains(told[0], "step-000000002") || !strings.Contains(told[0], name) {
					t.Fatalf("%s damaged at %d: told %q", name, at, told)
				}
			}
		}
		overwrite(t, path, whole)
	}
	if _, newest, err := s.Newest(t.Context()); err != nil || newest != "step-000000002" {
		t.Errorf("mended: newest is %q, %v", newest, err)
	}
}

// offsets returns every 4 KiB and the last byte, and for a small file every 7th byte.
func offsets(n int) []int {
	stride := 4096
	if n < stride {
		stride = 7
	}
	var at []int
	for i := 0; i < n; i += stride {
		at = append(at, i)
	}
	return append(at, n-1)
}

func overwrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTornOnesAreAnError(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{})
	save(t, s, checkpoint(1, 1), checkpoint(2, 2))
	for name, file := range map[string]string{"step-000000001": modelFile, "step-000000002": stateFile} {
		if err := os.Remove(filepath.Join(dir, name, file)); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := s.Newest(t.Context())
	if !errors.Is(err, ErrTorn) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrTorn and not fs.ErrNotExist, which would start over", err)
	}
	if _, err := Resolve(dir, nil); !errors.Is(err, ErrTorn) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("resolve: error %v", err)
	}
}

func TestMisnamedFolderIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{})
	save(t, s, checkpoint(1, 1))
	if err := os.CopyFS(filepath.Join(dir, "step-000000009"), os.DirFS(filepath.Join(dir, "step-000000001"))); err != nil {
		t.Fatal(err)
	}
	if _, name, err := s.Newest(t.Context()); err != nil || name != "step-000000001" {
		t.Errorf("newest is %q, %v", name, err)
	}
}

func TestNewerFormatIsAnError(t *testing.T) {
	dir := t.TempDir()
	var told warnings
	s := reopen(t, dir, Options{Warn: told.add})
	save(t, s, checkpoint(1, 1), checkpoint(2, 2))
	path := filepath.Join(dir, "step-000000002", stateFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, resum(bytes.Replace(text, []byte(`"format_version": 1`), []byte(`"format_version": 7`), 1)))
	_, _, err = s.Newest(t.Context())
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "format_version 7") || len(told) != 0 {
		t.Errorf("error %v, told %q", err, told)
	}
}

// resum gives a changed state.json the sum that belongs to it.
func resum(text []byte) []byte {
	const key = `"state_sha256": "`
	i := bytes.Index(text, []byte(key)) + len(key)
	out := slices.Concat(text[:i], []byte(zeroSum), text[i+len(zeroSum):])
	copy(out[i:], hexSum(out))
	return out
}

// A file that cannot be opened says nothing about the checkpoint: passing over it would undo good steps.
func TestUnreadableIsNotTorn(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{})
	save(t, s, checkpoint(1, 1), checkpoint(2, 2))
	path := filepath.Join(dir, "step-000000002", modelFile)
	if err := errors.Join(os.Remove(path), os.Symlink(modelFile, path)); err != nil { // ELOOP
		t.Fatal(err)
	}
	if _, name, err := s.Newest(t.Context()); err == nil || errors.Is(err, ErrTorn) {
		t.Errorf("newest is %q, %v; want the file system's error", name, err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{})
	if _, err := OpenStore(dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second store: error %v, want ErrLocked with the folder", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reopen(t, dir, Options{})
}

func TestSaveStopsWhenCancelled(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Save(ctx, checkpoint(1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	equal(t, "folders", folders(t, dir), []string(nil))
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	save(t, reopen(t, dir, Options{}), checkpoint(5, 1), checkpoint(20, 2))
	five, twenty := filepath.Join(dir, "step-000000005"), filepath.Join(dir, "step-000000020")
	other := filepath.Join(t.TempDir(), "best")
	if err := os.CopyFS(other, os.DirFS(five)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: twenty, five: five, five + "/": five + "/", other: other} {
		got, err := Resolve(path, nil)
		if err != nil || got != want {
			t.Errorf("resolve %s: %s, %v, want %s", path, got, err, want)
		}
		if _, err := Read(got); err != nil {
			t.Error(err)
		}
	}
	overwrite(t, filepath.Join(twenty, modelFile), []byte("x"))
	var told warnings
	if got, err := Resolve(dir, told.add); err != nil || got != five || len(told) != 1 {
		t.Errorf("resolve with a torn one: %s, %v, told %q", got, err, told)
	}
	if _, err := Read(twenty); !errors.Is(err, ErrTorn) {
		t.Errorf("read a torn one: %v", err)
	}
	for _, path := range []string{t.TempDir(), filepath.Join(dir, "nothing")} {
		if _, err := Resolve(path, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("resolve %s: error %v, want fs.ErrNotExist", path, err)
		}
	}
}

// blob is a further file of a checkpoint.
type blob string

func (b blob) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(b))
	return int64(n), err
}

// Further files come back as they were, and a damaged one makes the checkpoint torn.
func TestFurtherFiles(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{})
	c := checkpoint(1, 0)
	c.Files = map[string]io.WriterTo{"seen.bin": blob("what was seen")}
	if _, err := s.Save(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	got, name, err := s.Newest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := got.Open("seen.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); err != nil || string(text) != "what was seen" {
		t.Errorf("read %q, %v", text, err)
	}
	if _, err := got.Open("other.bin"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, "seen.bin"), []byte("what was sewn"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(filepath.Join(dir, name)); !errors.Is(err, ErrTorn) {
		t.Errorf("a damaged file: %v", err)
	}
}

// Files that lie on the same disk are linked and not written again; elsewhere they are copied, and what is not what was
// written there is no checkpoint.
func TestLinkedFiles(t *testing.T) {
	for _, apart := range []bool{false, true} {
		dir := t.TempDir()
		var fs files = osFiles{}
		if apart {
			fs = otherDisk{}
		}
		s, err := openStore(dir, Options{}, fs)
		if err != nil {
			t.Fatal(err)
		}
		c := checkpoint(1, 1)
		c.Linked = linked(t, "segment.bin", "images")
		save(t, s, c)
		from, err1 := os.Stat(c.Linked["segment.bin"].Path)
		to, err2 := os.Stat(filepath.Join(dir, stepName(1), "segment.bin"))
		if err1 != nil || err2 != nil || os.SameFile(from, to) == apart {
			t.Errorf("on another disk %v: one file %v, %v, %v", apart, os.SameFile(from, to), err1, err2)
		}
		c = checkpoint(2, 2)
		c.Linked = linked(t, "segment.bin", "images")
		overwrite(t, c.Linked["segment.bin"].Path, []byte("imagined"))
		if _, err := s.Save(t.Context(), c); !errors.Is(err, ErrTorn) {
			t.Errorf("on another disk %v: a file of another length: error %v", apart, err)
		}
		s.Close()
	}
}

// otherDisk gives no links.
type otherDisk struct{ osFiles }

func (otherDisk) Link(from, to string) error {
	return &os.LinkError{Op: "link", Old: from, New: to, Err: unix.EXDEV}
}
