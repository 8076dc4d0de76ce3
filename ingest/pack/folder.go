package pack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mocostream/ingest/internal/shard"
)

// folder is a local Destination.
type folder struct{ dir string }

// Folder makes a folder for shards, if it is missing. One that holds shards or an index already is refused: readers would
// take them for part of the new ones.
func Folder(dir string) (Destination, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder for shards: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read folder for shards: %w", err)
	}
	for _, e := range entries {
		if shard.Is(e.Name()) || e.Name() == shard.IndexName {
			return nil, fmt.Errorf("%s holds %s already, which would count among the new shards; name another folder or remove it",
				dir, e.Name())
		}
	}
	return folder{dir}, nil
}

// Create implements Destination.
func (f folder) Create(_ context.Context, name string) (Writer, error) {
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return nil, fmt.Errorf("create shard: %q is no name in a folder", name)
	}
	temp, err := os.CreateTemp(f.dir, ".pack-*")
	if err != nil {
		return nil, fmt.Errorf("create shard: %w", err)
	}
	return &localFile{temp, filepath.Join(f.dir, name), false}, nil
}

// localFile takes its name when it is whole and on the disk.
type localFile struct {
	*os.File
	path string
	done bool
}

// Close implements Writer.
func (f *localFile) Close() error {
	if f.done {
		return fs.ErrClosed
	}
	f.done = true
	err := errors.Join(f.Chmod(0o644), f.Sync(), f.File.Close())
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("store %s: %w", f.path, err), os.Remove(f.Name()))
	}
	return syncFolder(filepath.Dir(f.path))
}

// syncFolder makes a rename survive a power cut.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Abort implements Writer.
func (f *localFile) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	return errors.Join(f.File.Close(), os.Remove(f.Name()))
}
