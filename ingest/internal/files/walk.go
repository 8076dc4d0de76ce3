// Package files lists folders of any size in sorted order, in memory that depends on their depth alone.
package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// File is one regular file below a root.
type File struct {
	Name string // path below the root, with slashes
	Size int64  // bytes
}

// Walk describes what to list.
type Walk struct {
	Root string
	// Keep says whether a file's base name is wanted.
	Keep func(base string) bool
	// FollowSymlinks enters folders that are symbolic links. Links to files are always followed.
	FollowSymlinks bool
	// Temp is the folder for temporary files, made when it is missing; they are gone when the list ends.
	Temp string
}

// listBatch is how many entries of a folder are read at once.
const listBatch = 1024

// Files yields the files below the root, hidden ones and hidden folders left out, sorted by name as bytes. It ends after
// the first error, which names what could not be read.
func (w Walk) Files(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		sorter := sorter{temp: w.Temp}
		defer sorter.close()
		if err := w.folder(ctx, ".", nil, &sorter); err != nil {
			yield(File{}, err)
			return
		}
		for f, err := range sorter.sorted() {
			if err == nil {
				err = ctx.Err()
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// folder lists one folder and those below it. above are the folders it lies in, to notice a loop of links.
func (w Walk) folder(ctx context.Context, name string, above []fs.FileInfo, out *sorter) error {
	full := filepath.Join(w.Root, filepath.FromSlash(name))
	dir, err := os.Open(full)
	if err != nil {
		return fmt.Errorf("list folder: %w", err)
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return fmt.Errorf("list folder: %w", err)
	}
	for _, a := range above {
		if os.SameFile(a, info) {
			return nil // a link to where we come from: everything in it is listed already
		}
	}
	above = append(above[:len(above):len(above)], info)
	for {
		entries, err := dir.ReadDir(listBatch)
		for _, e := range entries {
			if err := w.entry(ctx, path.Join(name, e.Name()), e, above, out); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list folder %s: %w", full, err)
		}
	}
}

func (w Walk) entry(ctx context.Context, name string, e fs.DirEntry, above []fs.FileInfo, out *sorter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if strings.HasPrefix(e.Name(), ".") {
		return nil
	}
	mode := e.Type()
	var info fs.FileInfo
	if mode&fs.ModeSymlink != 0 {
		var err error
		if info, err = w.target(name); err != nil || info == nil {
			return err
		}
		mode = info.Mode()
	}
	switch {
	case mode.IsDir():
		return w.folder(ctx, name, above, out)
	case !mode.IsRegular() || !w.Keep(e.Name()):
		return nil
	}
	if info == nil {
		var err error
		if info, err = e.Info(); errors.Is(err, fs.ErrNotExist) {
			return nil // removed while we list
		} else if err != nil {
			return fmt.Errorf("list folder: %w", err)
		}
	}
	return out.add(File{Name: name, Size: info.Size()})
}

// target returns what a link leads to, nil when it is of no interest.
func (w Walk) target(name string) (fs.FileInfo, error) {
	full := filepath.Join(w.Root, filepath.FromSlash(name))
	info, err := os.Stat(full)
	if err != nil {
		if w.Keep(path.Base(name)) {
			return nil, fmt.Errorf("list folder: %w; remove the link or bring back what it leads to", err)
		}
		return nil, nil
	}
	if info.IsDir() && !w.FollowSymlinks {
		return nil, nil
	}
	return info, nil
}
