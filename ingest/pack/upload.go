package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// upload is a Destination that stores objects whole.
type upload struct {
	temp string
	put  func(ctx context.Context, name string, body io.ReadSeeker) error
}

// Upload makes a Destination of a function that stores an object whole, as a bucket does. A shard grows in a temporary
// file in the folder temp ("" is the system's) and is put when it is closed, with the context of its Create.
func Upload(temp string, put func(ctx context.Context, name string, body io.ReadSeeker) error) Destination {
	return upload{temp, put}
}

// Create implements Destination.
func (u upload) Create(ctx context.Context, name string) (Writer, error) {
	f, err := os.CreateTemp(u.temp, "mocostream-pack-*")
	if err != nil {
		return nil, fmt.Errorf("create shard: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil { // an open file outlives its name, and a crash leaves nothing behind
		return nil, errors.Join(fmt.Errorf("create shard: %w", err), f.Close())
	}
	put := func() error { return u.put(ctx, name, f) }
	return &uploadFile{f, put, false}, nil
}

type uploadFile struct {
	*os.File
	put  func() error
	done bool
}

// Close implements Writer.
func (f *uploadFile) Close() error {
	if f.done {
		return fs.ErrClosed
	}
	f.done = true
	_, err := f.Seek(0, io.SeekStart)
	if err == nil {
		err = f.put()
	}
	return errors.Join(err, f.File.Close())
}

// Abort implements Writer.
func (f *uploadFile) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	return f.File.Close()
}
