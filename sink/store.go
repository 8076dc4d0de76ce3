package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"mocostream/internal/failpoint"
	"mocostream/train"
)

// Options of a Store.
type Options struct {
	// Keep is how many of the newest checkpoints stay; 0 keeps all.
	Keep int
	// KeepEvery keeps the checkpoints whose step is a multiple of it besides; 0 keeps none besides.
	KeepEvery int64
	// Warn is told of what was passed over or could not be removed, in a sentence; it may be nil.
	Warn func(string)
	// Point is called before and after each file, the rename and state.json, with the names of package failpoint, so that
	// a test can end the process there; nil is nobody.
	Point func(name string)
}

// Store keeps checkpoints as step folders in a run folder, which it holds locked against other processes until Close.
// Its methods may be called concurrently.
type Store struct {
	dir  string
	o    Options
	fs   files
	lock *os.File

	mu  sync.Mutex
	bad map[int64]bool // steps whose folder is known to be damaged
}

var _ train.Checkpoints = (*Store)(nil)

// OpenStore opens the run folder dir, making it if need be, takes its lock and clears away what a crash left
// half-written. It returns an error that wraps ErrLocked at once if another process has the folder.
func OpenStore(dir string, o Options) (*Store, error) {
	return openStore(dir, o, osFiles{})
}

// AwaitStore is OpenStore for one that stands by: while another process has the folder it waits, until ctx is done. The
// kernel frees the lock when that process ends, however it ends; one that is merely stopped keeps it.
func AwaitStore(ctx context.Context, dir string, o Options) (*Store, error) {
	told := func() {}
	if o.Warn != nil {
		told = func() {
			o.Warn(fmt.Sprintf("standing by: another process writes to %s; this one takes over when it ends", dir))
		}
	}
	return newStore(dir, o, osFiles{}, func() (*os.File, error) { return awaitLock(ctx, dir, told) })
}

func openStore(dir string, o Options, fs files) (*Store, error) {
	return newStore(dir, o, fs, func() (*os.File, error) { return lockFolder(dir) })
}

func newStore(dir string, o Options, fs files, take func() (*os.File, error)) (*Store, error) {
	if o.Keep < 0 || o.KeepEvery < 0 {
		return nil, fmt.Errorf("open run folder %s: keep %d and keep every %d must not be negative", dir, o.Keep, o.KeepEvery)
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Point == nil {
		o.Point = func(string) {}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open run folder: %w", err)
	}
	if err := fs.SyncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
		return nil, fmt.Errorf("open run folder: %w", err)
	}
	lock, err := take()
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, o: o, fs: fs, lock: lock, bad: map[int64]bool{}}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("clear run folder %s: %w", dir, errors.Join(err, lock.Close()))
	}
	return s, nil
}

// Close gives the lock back.
func (s *Store) Close() error { return s.lock.Close() }

// Save implements train.Checkpoints. The checkpoint is written beside, synced, read back and compared before it takes
// its name, and only then are older ones pruned. On error all older ones stay. ctx is looked at until the files are
// written.
func (s *Store) Save(ctx context.Context, c *train.Checkpoint) (name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = stepName(c.Step)
	if err := s.save(ctx, name, c); err != nil {
		return "", fmt.Errorf("save checkpoint %s: %w", filepath.Join(s.dir, name), err)
	}
	delete(s.bad, c.Step)
	s.prune(c.Step)
	return name, nil
}

func (s *Store) save(ctx context.Context, name string, c *train.Checkpoint) error {
	tmp := filepath.Join(s.dir, name+tmpSuffix)
	err := s.fs.RemoveAll(tmp)
	if err != nil {
		return err
	}
	w := folderWriter{s.fs, s.o.Point}
	if _, err = w.write(ctx, tmp, c); err == nil {
		_, err = verifyBut(tmp, c.Linked)
	}
	if err == nil {
		s.o.Point(failpoint.CheckpointRenameBefore)
		err = s.publish(tmp, filepath.Join(s.dir, name))
	}
	if err != nil {
		return errors.Join(err, s.fs.RemoveAll(tmp)) // a full disk gets its space back
	}
	s.o.Point(failpoint.CheckpointRenameAfter)
	return nil
}

// Newest implements train.Checkpoints. The error wraps fs.ErrNotExist if the folder holds no checkpoint at all,
// ErrTorn if it holds only damaged ones, ErrNewer if the newest needs a newer program.
func (s *Store) Newest(ctx context.Context) (*train.Checkpoint, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c *train.Checkpoint
	w := walk{dir: s.dir, warn: s.o.Warn}
	dir, err := w.newest(func(stepDir string, step int64) (err error) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c, err = Read(stepDir); err != nil {
			return err
		}
		return sameStep(c.Step, step)
	})
	for _, step := range w.bad {
		s.bad[step] = true
	}
	if err != nil {
		return nil, "", err
	}
	return c, filepath.Base(dir), nil
}
