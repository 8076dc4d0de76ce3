package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var errKilled = errors.New("killed")

// faultyFiles fails from its nth operation on, as a process does that is killed there (all operations fail, the write
// at hand half done) or as a full disk does (only those fail that need space). It knows what was not synced.
type faultyFiles struct {
	osFiles
	left    int
	full    bool
	failed  bool
	dirty   map[string]bool // files written since their last sync
	names   map[string]bool // files whose name a sync of their folder has not made durable
	renames []rename        // likewise
}

type rename struct{ from, to string }

func (f *faultyFiles) step(grows bool) error {
	if f.left--; f.left < 0 {
		f.failed = true
	}
	switch {
	case f.failed && !f.full:
		return errKilled
	case f.failed && grows:
		return unix.ENOSPC
	}
	return nil
}

func (f *faultyFiles) Mkdir(path string) error {
	if err := f.step(true); err != nil {
		return err
	}
	return f.osFiles.Mkdir(path)
}

func (f *faultyFiles) Create(path string) (file, error) {
	if err := f.step(true); err != nil {
		return nil, err
	}
	w, err := os.Create(path)
	f.dirty[path], f.names[path] = true, true
	return &faultyFile{w, f}, err
}

func (f *faultyFiles) Rename(from, to string) error {
	if err := f.step(false); err != nil {
		return err
	}
	f.renames = append(f.renames, rename{from, to})
	f.names = moved(f.names, from, to)
	f.dirty = moved(f.dirty, from, to)
	return f.osFiles.Rename(from, to)
}

func (f *faultyFiles) Link(from, to string) error {
	if err := f.step(true); err != nil {
		return err
	}
	f.names[to] = true
	return f.osFiles.Link(from, to)
}

func (f *faultyFiles) RemoveAll(path string) error {
	if err := f.step(false); err != nil {
		return err
	}
	return f.osFiles.RemoveAll(path)
}

func (f *faultyFiles) SyncDir(path string) error {
	if err := f.step(false); err != nil {
		return err
	}
	f.renames = slices.DeleteFunc(f.renames, func(r rename) bool { return filepath.Dir(r.to) == path })
	maps.DeleteFunc(f.names, func(name string, _ bool) bool { return filepath.Dir(name) == path })
	return f.osFiles.SyncDir(path)
}

// moved follows the paths of files when a folder above them gets another name.
func moved(paths map[string]bool, from, to string) map[string]bool {
	m := map[string]bool{}
	for path := range paths {
		if rest, ok := strings.CutPrefix(path, from+"/"); ok {
			path = to + "/" + rest
		}
		m[path] = true
	}
	return m
}

// losePower undoes what was not synced: files lose their second half or their name, and renamed ones get the old back.
func (f *faultyFiles) losePower(t *testing.T) {
	for path := range f.dirty {
		if st, err := os.Stat(path); err == nil {
			if err := os.Truncate(path, st.Size()/2); err != nil {
				t.Fatal(err)
			}
		}
	}
	for path := range f.names {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for i := len(f.renames) - 1; i >= 0; i-- {
		r := f.renames[i]
		if _, err := os.Stat(r.to); err == nil {
			if err := os.Rename(r.to, r.from); err != nil {
				t.Fatal(err)
			}
		}
	}
}

type faultyFile struct {
	*os.File
	fs *faultyFiles
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.fs.step(true); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, err
	}
	return f.File.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.fs.step(true); err != nil {
		return err
	}
	delete(f.fs.dirty, f.Name())
	return f.File.Sync()
}

// scenario is a folder before a save, and the states that may be found after a save of checkpoint(2, 2) into it broke
// off: by then nothing, or all of it.
type scenario struct {
	name    string
	o       Options
	prepare func(t *testing.T, dir string)
	before  float32 // mark of the newest whole checkpoint before
}

var scenarios = []scenario{
	{"next to an older one", Options{Keep: 1}, func(t *testing.T, dir string) {
		s := reopen(t, dir, Options{})
		save(t, s, checkpoint(0, 0), checkpoint(1, 1))
		s.Close()
	}, 1},
	{"over a torn one", Options{Keep: 1}, func(t *testing.T, dir string) {
		s := reopen(t, dir, Options{})
		save(t, s, checkpoint(1, 1), checkpoint(2, 8))
		overwrite(t, filepath.Join(dir, stepName(2), modelFile), []byte("torn"))
		s.Close()
	}, 1},
	{"over a whole one", Options{Keep: 1}, func(t *testing.T, dir string) {
		s := reopen(t, dir, Options{})
		save(t, s, checkpoint(2, 7))
		s.Close()
	}, 7},
}

// A save that breaks off at any operation leaves the older state or the whole new one, whether the process died, the
// power failed or the disk was full.
func TestSaveBrokenOffAnywhere(t *testing.T) {
	for _, sc := range scenarios {
		for _, how := range []string{"killed", "power lost", "disk full"} {
			t.Run(sc.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				n := 0
				for ; breakOff(t, sc, how, n); n++ {
				}
				if n < 15 {
					t.Errorf("only %d operations were broken off", n)
				}
			})
		}
	}
}

// breakOff runs one save that fails at operation n, and returns false if it ended before.
func breakOff(t *testing.T, sc scenario, how string, n int) bool {
	dir := t.TempDir()
	sc.prepare(t, dir)
	ff := &faultyFiles{left: 1 << 30, full: how == "disk full", dirty: map[string]bool{}, names: map[string]bool{}}
	s, err := openStore(dir, sc.o, ff)
	if err != nil {
		t.Fatal(err)
	}
	ff.left = n
	c := checkpoint(2, 2)
	c.Linked = linked(t, "segment.bin", "images")
	_, saveErr := s.Save(t.Context(), c)
	s.Close()
	if ff.full && saveErr != nil && (!errors.Is(saveErr, unix.ENOSPC) || !strings.Contains(saveErr.Error(), dir)) {
		t.Fatalf("operation %d: error %v, want ENOSPC with the path", n, saveErr)
	}
	if how == "power lost" {
		ff.losePower(t)
	}
	found(t, dir, fmt.Sprintf("operation %d", n), sc.before, saveErr)
	return ff.failed
}

// found checks what the next process finds.
func found(t *testing.T, dir, when string, before float32, saveErr error) {
	t.Helper()
	s := reopen(t, dir, Options{})
	defer s.Close()
	c, name, err := s.Newest(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if m := mark(t, c); m != 2 && (m != before || saveErr == nil) {
		t.Fatalf("%s: save returned %v, newest is %s with mark %g", when, saveErr, name, m)
	}
	for _, name := range folders(t, dir) {
		if !isStep(name) {
			t.Errorf("%s: %s was left behind", when, name)
		}
	}
}

// A real limit of the kernel, in a process of its own: the disk is "full" after 16 KiB a file.
func TestFileSizeLimit(t *testing.T) {
	const env = "MOCOSTREAM_TEST_FSIZE"
	if dir := os.Getenv(env); dir != "" {
		saveUnderLimit(t, dir)
		return
	}
	dir := t.TempDir()
	s := reopen(t, dir, Options{Keep: 1})
	save(t, s, checkpoint(1, 1))
	s.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestFileSizeLimit$", "-test.v")
	cmd.Env = append(os.Environ(), env+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "saved: save checkpoint") {
		t.Fatalf("child: %v\n%s", err, out)
	}
	found(t, dir, "limit", 1, unix.EFBIG)
	equal(t, "folders", folders(t, dir), names(1))
}

func saveUnderLimit(t *testing.T, dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 12 << 10, Max: 12 << 10}); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, dir, Options{Keep: 1})
	_, err := s.Save(t.Context(), checkpoint(2, 2))
	if !errors.Is(err, unix.EFBIG) || !strings.Contains(err.Error(), filepath.Join(dir, stepName(2))) {
		t.Fatalf("error %v, want EFBIG with the path", err)
	}
	if c, _, err := s.Newest(t.Context()); err != nil || mark(t, c) != 1 {
		t.Fatalf("newest: %v", err)
	}
	t.Logf("saved: %v", err)
}

// What stages of a killed save leave behind is cleared on open, and nothing else is.
func TestOpenClears(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{})
	save(t, s, checkpoint(1, 1), checkpoint(2, 2))
	s.Close()
	for _, path := range []string{"step-000000003.tmp/model.safetensors", "step-000000002.old/state.json", "notes.tmp/x", "mine.old/y"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		overwrite(t, filepath.Join(dir, path), []byte("x"))
	}
	if err := os.Rename(filepath.Join(dir, stepName(1)), filepath.Join(dir, stepName(1)+oldSuffix)); err != nil {
		t.Fatal(err)
	}
	reopen(t, dir, Options{})
	equal(t, "folders", folders(t, dir), []string{"mine.old", "notes.tmp", stepName(1), stepName(2)})
}
