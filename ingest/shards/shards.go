// Package shards reads local shards: tar files in WebDataset's convention (KEY.jpg, .jpeg, .png or .webp beside KEY.cls),
// compressed with gzip or not, and tables, Parquet and Arrow IPC, with a column of image bytes.
package shards

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"mocostream/ingest"
	"mocostream/ingest/internal/frozen"
	"mocostream/ingest/internal/shard"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Options say what to read.
type Options struct {
	// Path is a shard, a pattern of shards ("data/train-*.tar", as in filepath.Match), or a folder: then the shards are
	// the files that end in .tar, .tar.gz, .tgz, .parquet, .arrow, .arrows or .feather below it, at any depth.
	Path string
	// ManifestDir is where the list of shards with their counts is kept.
	ManifestDir string
	// ManifestHash is the list to read, as stored in a checkpoint; empty lists and counts the shards as they are now.
	ManifestHash string
	// Labels reads the cls members and the label column; without it no sample has a label.
	Labels bool
	// ImageColumn and LabelColumn are the columns of a table; "" finds the image by its name (image, img, jpg, jpeg, png,
	// webp, bytes) and takes "label" where there is one.
	ImageColumn, LabelColumn string
	// MaxBytes is the largest image that is read whole, at most 1 GiB; 0 means 32 MiB. Of a larger one the
	// first MaxBytes+1 bytes are returned, so that its length shows what it is.
	MaxBytes int64
	// Mem is where records are allocated; nil means Go's heap.
	Mem memory.Allocator
	// Warn is told what a person should know while the listing goes on: an index that is out of date. nil is nobody.
	Warn func(text string)
}

// Source reads shards. Each shard is a partition. Methods may be called concurrently.
type Source struct {
	Options
	list *frozen.List
}

var _ ingest.Bounded = (*Source)(nil)

// New makes a source. No file is looked at before the first call of Manifest or Read.
func New(o Options) (*Source, error) {
	if o.Path == "" {
		return nil, errors.New("read shards: no path given; set ingest.shards")
	}
	var err error
	if o.MaxBytes, err = frozen.Check(o.ManifestDir, o.MaxBytes); err != nil {
		return nil, fmt.Errorf("read shards %s: %w", o.Path, err)
	}
	s := &Source{Options: o}
	s.list = frozen.New(o.ManifestDir, o.ManifestHash, "shards "+o.Path, s.partitions)
	return s, nil
}

// Manifest implements ingest.Bounded. The first call reads every shard's headers, and all of a compressed one, to count
// its samples, unless an index beside the shard says how many there are. The manifest stays the source's: Close closes it.
func (s *Source) Manifest(ctx context.Context) (*ingest.Manifest, error) { return s.list.Get(ctx) }

// Close releases the manifest. Readers that are open go on.
func (s *Source) Close() error { return s.list.Close() }

// Read implements ingest.Bounded. Its records hold up to 64 samples and about 1 MiB, or one larger image. Except in a
// compressed tar, what lies before from is skipped without reading it. A reader that was cancelled inside Next stays at ctx.Err().
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
	o, err := s.open(p)
	if err != nil {
		return nil, fmt.Errorf("read shard: %w", err)
	}
	return shard.Open(ctx, o, shard.Options{
		From: from, Count: p.Count, Labels: s.Labels, ImageColumn: s.ImageColumn, LabelColumn: s.LabelColumn,
		MaxBytes: s.MaxBytes, Allocator: s.Mem,
		Row: func(sample int64) ingest.Row {
			return ingest.Row{ID: ingest.ID{Source: m.Hash(), Partition: partition, Offset: sample}}
		},
	})
}

// open opens a listed shard and checks that it still is what was listed.
func (s *Source) open(p ingest.Partition) (shard.Object, error) {
	if !filepath.IsLocal(filepath.FromSlash(p.Name)) {
		return nil, fmt.Errorf("%w: %q leads out of the folder", ingest.ErrManifest, p.Name)
	}
	full := filepath.Join(s.root(), filepath.FromSlash(p.Name))
	o, err := shard.OpenFile(full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, changed(full, "it is gone")
	case errors.Is(err, shard.ErrNotRegular):
		return nil, changed(full, "it is no file any more")
	case err != nil:
		return nil, err
	case o.Size() != p.Size:
		o.Close()
		return nil, changed(full, fmt.Sprintf("%d bytes are listed, it has %d", p.Size, o.Size()))
	}
	return o, nil
}

func changed(full, how string) error {
	return fmt.Errorf("%s %w: %s; bring the shard back, or start a new run, which lists the shards again", full, ingest.ErrChanged, how)
}
