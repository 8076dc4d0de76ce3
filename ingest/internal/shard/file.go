package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrNotRegular says that a path leads to no regular file.
var ErrNotRegular = errors.New("is not a regular file")

// file is a shard on a local disk.
type file struct {
	*os.File
	size int64
}

// OpenFile opens a shard on a local disk.
func OpenFile(path string) (Object, error) {
	info, err := os.Stat(path) // first: opening a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %w", path, ErrNotRegular)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, err
	}
	return &file{f, info.Size()}, nil
}

// Size implements Object.
func (f *file) Size() int64 { return f.size }

// From implements Object.
func (f *file) From(_ context.Context, offset int64) (io.ReadCloser, error) {
	section := io.NewSectionReader(f.File, 0, f.size)
	if _, err := section.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return body{section}, nil
}

// body is a file read on from a byte; the file stays open behind it.
type body struct{ *io.SectionReader }

func (body) Close() error { return nil }
