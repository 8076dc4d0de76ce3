// Package shards reads local tar files in WebDataset's convention: the members of a sample follow each other and share
// their name up to the first dot of its last part, which is the sample's key. What comes after the dot says what a
// member is: jpg, jpeg, png or webp the image, cls the label. Others are passed over, and so is a second image.
//
// Shards may be compressed with gzip; their content tells, not their name.
package shards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mocostream/ingest"
	"mocostream/ingest/internal/frozen"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// DefaultMaxBytes is the largest image that is read whole.
const DefaultMaxBytes = 32 << 20

// Options say what to read.
type Options struct {
	// Path is a shard, a pattern of shards ("data/train-*.tar", as in filepath.Match), or a folder: then the shards are
	// the files that end in .tar, .tar.gz or .tgz below it, at any depth.
	Path string
	// ManifestDir is where the list of shards with their counts is kept.
	ManifestDir string
	// ManifestHash is the list to read, as stored in a checkpoint; empty lists and counts the shards as they are now.
	ManifestHash string
	// Labels reads the cls members; without it no sample has a label.
	Labels bool
	// MaxBytes is the largest image that is read whole, at most 1 GiB; 0 means DefaultMaxBytes. Of a larger one the
	// first MaxBytes+1 bytes are returned, so that its length shows what it is.
	MaxBytes int64
	// Mem is where records are allocated; nil means Go's heap.
	Mem memory.Allocator
}

// Source reads shards. Each shard is a partition. Methods may be called concurrently.
type Source struct {
	Options
	list *frozen.List
}

var _ ingest.Bounded = (*Source)(nil)

// New makes a source. No file is looked at before the first call of Manifest or Read.
func New(o Options) (*Source, error) {
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultMaxBytes)
	switch {
	case o.Path == "":
		return nil, errors.New("read shards: no path given; set ingest.shards")
	case o.ManifestDir == "":
		return nil, fmt.Errorf("read shards %s: no folder for their manifest given", o.Path)
	case o.MaxBytes < 0 || o.MaxBytes > 1<<30:
		return nil, fmt.Errorf("read shards %s: largest image of %d bytes is not in 1..%d", o.Path, o.MaxBytes, 1<<30)
	}
	s := &Source{Options: o}
	s.list = frozen.New(o.ManifestDir, o.ManifestHash, "shards "+o.Path, s.partitions)
	return s, nil
}

// Manifest implements ingest.Bounded. The first call reads every shard's headers, and all of a compressed one, to count
// its samples. The manifest stays the source's: Close closes it.
func (s *Source) Manifest(ctx context.Context) (*ingest.Manifest, error) { return s.list.Get(ctx) }

// Close releases the manifest. Readers that are open go on.
func (s *Source) Close() error { return s.list.Close() }

// Read implements ingest.Bounded. Its records hold up to 64 samples and about 1 MiB, or one larger image. In a plain
// shard what lies before from is skipped without reading it. A reader that was cancelled inside Next stays at ctx.Err().
func (s *Source) Read(ctx context.Context, partition int32, from int64) (ingest.Reader, error) {
	m, err := s.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	p, err := m.Partition(partition)
	if err != nil {
		return nil, err
	}
	if from < 0 || from > p.Count {
		return nil, fmt.Errorf("read shard %s: sample %d of %d", p.Name, from, p.Count)
	}
	in, err := s.open(p)
	if err != nil {
		return nil, fmt.Errorf("read shard: %w", err)
	}
	return &reader{
		in: in, samples: newScanner(in), from: from, count: p.Count, labels: s.Labels, max: s.MaxBytes, mem: s.Mem,
		source: m.Hash(), partition: partition,
	}, nil
}

// open opens a listed shard and checks that it still is what was listed.
func (s *Source) open(p ingest.Partition) (*input, error) {
	if !filepath.IsLocal(filepath.FromSlash(p.Name)) {
		return nil, fmt.Errorf("%w: %q leads out of the folder", ingest.ErrManifest, p.Name)
	}
	full := filepath.Join(s.root(), filepath.FromSlash(p.Name))
	file, err := openRegular(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, changed(full, "it is gone")
	}
	if errors.Is(err, errNotRegular) {
		return nil, changed(full, "it is no file any more")
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() != p.Size {
		err = changed(full, fmt.Sprintf("%d bytes are listed, it has %d", p.Size, info.Size()))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	in, err := newInput(file)
	if err != nil {
		file.Close()
	}
	return in, err
}

func changed(full, how string) error {
	return fmt.Errorf("%s %w: %s; bring the shard back, or start a new run, which lists the shards again", full, ingest.ErrChanged, how)
}

var errNotRegular = errors.New("is not a regular file")

func openRegular(full string) (*os.File, error) {
	info, err := os.Stat(full) // first: opening a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %w", full, errNotRegular)
	}
	return os.Open(full)
}
