package sink

import (
	"errors"
	"io"
	"os"
)

// files is the part of a file system that changes it. Tests put one in its place that fails or stops half-way; reading
// needs no such stand-in.
type files interface {
	Mkdir(path string) error
	Create(path string) (file, error)
	Rename(from, to string) error
	Link(from, to string) error
	RemoveAll(path string) error
	SyncDir(path string) error
}

type file interface {
	io.WriteCloser
	Sync() error
}

type osFiles struct{}

func (osFiles) Mkdir(path string) error          { return os.Mkdir(path, 0o755) }
func (osFiles) Create(path string) (file, error) { return os.Create(path) }
func (osFiles) Rename(from, to string) error     { return os.Rename(from, to) }
func (osFiles) Link(from, to string) error       { return os.Link(from, to) }
func (osFiles) RemoveAll(path string) error      { return os.RemoveAll(path) }
func (osFiles) SyncDir(path string) error        { return syncDir(path) }

// syncDir makes the names inside a folder durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
