// Package dir reads a folder of image files, at any depth.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"mocostream/ingest"
	"mocostream/ingest/internal/files"
	"mocostream/ingest/internal/frozen"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Options say what to read.
type Options struct {
	// Root is the folder. Files that end in .jpg, .jpeg, .png or .webp, in any case, are its images; hidden files and
	// folders are left out.
	Root string
	// ManifestDir is where the list of files is kept.
	ManifestDir string
	// ManifestHash is the list to read, as stored in a checkpoint; empty lists the folder as it is now.
	ManifestHash string
	// Labels gives every image below a top-level folder that folder's index among the sorted ones that hold images.
	// Images directly in the root have none.
	Labels bool
	// FollowSymlinks enters folders that are symbolic links, except where they lead back up. Links to files are
	// followed always.
	FollowSymlinks bool
	// MaxBytes is the largest image that is read whole, at most 1 GiB; 0 means 32 MiB. Of a larger one the
	// first MaxBytes+1 bytes are returned, so that its length shows what it is.
	MaxBytes int64
	// Mem is where records are allocated; nil means Go's heap.
	Mem memory.Allocator
}

// Source reads the images of a folder. Each file is a partition of one sample. Methods may be called concurrently.
type Source struct {
	Options
	list    *frozen.List
	classes *frozen.Classes
}

var _ ingest.Bounded = (*Source)(nil)

// New makes a source. The folder is not looked at before the first call of Manifest or Read.
func New(o Options) (*Source, error) {
	if o.Root == "" {
		return nil, errors.New("read folder: no folder given; set ingest.dir")
	}
	var err error
	if o.MaxBytes, err = frozen.Check(o.ManifestDir, o.MaxBytes); err != nil {
		return nil, fmt.Errorf("read folder %s: %w", o.Root, err)
	}
	s := &Source{Options: o}
	s.list = frozen.New(o.ManifestDir, o.ManifestHash, "folder "+o.Root, s.partitions)
	s.classes = frozen.NewClasses(s.list, nil)
	return s, nil
}

// Manifest implements ingest.Bounded. The manifest stays the source's: Close closes it.
func (s *Source) Manifest(ctx context.Context) (*ingest.Manifest, error) { return s.list.Get(ctx) }

// Close releases the manifest. Readers that are open go on.
func (s *Source) Close() error { return s.list.Close() }

// partitions lists the folder as it is now.
func (s *Source) partitions(ctx context.Context) iter.Seq2[ingest.Partition, error] {
	walk := files.Walk{Root: s.Root, Keep: isImage, FollowSymlinks: s.FollowSymlinks, Temp: s.ManifestDir}
	return func(yield func(ingest.Partition, error) bool) {
		if err := s.checkRoot(); err != nil {
			yield(ingest.Partition{}, err)
			return
		}
		found := false
		for f, err := range walk.Files(ctx) {
			found = true
			if !yield(ingest.Partition{Name: f.Name, Size: f.Size, Count: 1}, err) || err != nil {
				return
			}
		}
		if !found {
			yield(ingest.Partition{}, s.emptyError())
		}
	}
}

func (s *Source) checkRoot() error {
	info, err := os.Stat(s.Root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("list folder: %w; create it or set ingest.dir to the folder of the images", err)
	case err != nil:
		return fmt.Errorf("list folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("list folder: %s is no folder; set ingest.dir to the folder of the images", s.Root)
	}
	return nil
}

func (s *Source) emptyError() error {
	hint := ""
	if !s.FollowSymlinks {
		hint = " (links to folders are not followed)"
	}
	return fmt.Errorf("list folder: no JPEG, PNG or WebP file below %s%s; set ingest.dir to the folder of the images, or ingest.shards for shards", s.Root, hint)
}

func isImage(base string) bool {
	switch strings.ToLower(path.Ext(base)) {
	case ".jpg", ".jpeg", ".png", ".webp":
		return true
	}
	return false
}

// Read implements ingest.Bounded. It opens the file and says so when it is not the one listed (ingest.ErrChanged).
func (s *Source) Read(ctx context.Context, partition int32, from int64) (ingest.Reader, error) {
	m, err := s.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	p, err := m.Partition(partition)
	if err != nil {
		return nil, err
	}
	if from < 0 || from > 1 {
		return nil, fmt.Errorf("read %s: sample %d of a file that is one", p.Name, from)
	}
	row := ingest.Row{Key: p.Name, ID: ingest.ID{Source: m.Hash(), Partition: partition}}
	if row.Label, err = s.label(ctx, p.Name); err != nil {
		return nil, err
	}
	if from == 1 {
		return &reader{}, nil
	}
	file, err := s.open(p)
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	return &reader{file: file, row: row, listed: p.Size, size: int(min(p.Size, s.MaxBytes+1)), mem: s.Mem}, nil
}

// open opens a listed file and checks that it still is what was listed.
func (s *Source) open(p ingest.Partition) (*os.File, error) {
	if !filepath.IsLocal(filepath.FromSlash(p.Name)) {
		return nil, fmt.Errorf("%w: %q leads out of the folder", ingest.ErrManifest, p.Name)
	}
	full := filepath.Join(s.Root, filepath.FromSlash(p.Name))
	file, err := os.OpenFile(full, os.O_RDONLY|nonblock, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, changed(full, "it is gone")
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != p.Size) {
		err = changed(full, fmt.Sprintf("%d bytes are listed, it has %d", p.Size, info.Size()))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func changed(full, how string) error {
	return fmt.Errorf("%s %w: %s; bring the file back, or start a new run, which lists the folder again", full, ingest.ErrChanged, how)
}
