package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// scratch is one store's own part of a cache folder, locked while it lives. What a killed process left has no lock.
type scratch struct {
	dir  string
	lock *os.File
}

const scratchPattern = "writer-*"

// newScratch makes a folder of its own in cache and removes those of processes that are gone.
func newScratch(cache string) (*scratch, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("make cache folder: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(cache, scratchPattern))
	if err != nil {
		return nil, fmt.Errorf("clear cache folder %s: %w", cache, err)
	}
	for _, dir := range old {
		if err := removeAbandoned(dir); err != nil {
			return nil, fmt.Errorf("clear cache folder %s: %w", cache, err)
		}
	}
	for range maxRaces {
		dir, err := os.MkdirTemp(cache, scratchPattern)
		if err != nil {
			return nil, fmt.Errorf("make cache folder: %w", err)
		}
		lock, err := lockFolder(dir)
		if err == nil {
			return &scratch{dir, lock}, nil
		}
		// Another process may have taken the folder without its lock for an abandoned one.
		if !errors.Is(err, ErrLocked) && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("make cache folder: others keep removing what is in %s", cache)
}

func removeAbandoned(dir string) error {
	lock, err := lockFolder(dir)
	if errors.Is(err, ErrLocked) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	gone := dir + oldSuffix // by its name nobody can lock it any more while it goes
	err = os.Rename(dir, gone)
	if err == nil {
		err = os.RemoveAll(gone)
	}
	return errors.Join(err, lock.Close())
}

// make returns a new folder inside.
func (s *scratch) make(name string) (string, error) { return os.MkdirTemp(s.dir, name+"-*") }

func (s *scratch) close() error { return errors.Join(os.RemoveAll(s.dir), s.lock.Close()) }

// scratchFiles writes files that need not survive the process.
type scratchFiles struct{ osFiles }

func (scratchFiles) Create(path string) (file, error) {
	f, err := os.Create(path)
	return unsynced{f}, err
}

func (scratchFiles) SyncDir(string) error { return nil }

type unsynced struct{ *os.File }

func (unsynced) Sync() error { return nil }
