// Package shard reads samples out of shards, wherever their bytes lie: tar and tar.gz in WebDataset's convention,
// Parquet (image bytes in a column, or Hugging Face's struct of bytes and path) and Arrow IPC. Sources on a disk and in
// a bucket share it.
//
// A tar: the members of a sample follow each other and share their name up to the first dot of its last part, which is
// the sample's key. What comes after the dot says what a member is: jpg, jpeg, png or webp the image, cls the label.
// Others are passed over, and so is a second image. Gzip is told by the content, not by the name.
//
// A table (Parquet, Arrow IPC as file or stream): a row is a sample. The image lies in a column of bytes, or of structs
// with a field "bytes". Its key is the struct's path, or a column __key__, key or id, or else the number of the row.
package shard

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// DefaultMaxBatch is how many bytes of a page, batch or dictionary of a table are unpacked at most.
const DefaultMaxBatch = 256 << 20

// Object is the bytes of one shard. It is used by one goroutine at a time, except Close, which unblocks a read.
type Object interface {
	// Name is a path or URL, for messages.
	Name() string
	// Size is the length in bytes.
	Size() int64
	// ReaderAt reads anywhere; columnar formats need it. Cancelling the reader's Next closes the Object, which ends it.
	io.ReaderAt
	// From reads on from a byte, for formats that are read through. What it returns may be an io.Seeker (whence: any);
	// then what nobody wants is not read.
	From(ctx context.Context, offset int64) (io.ReadCloser, error)
	Close() error
}

// Options say what to read of a shard, and how.
type Options struct {
	From int64 // sample to begin at
	// Count is how many samples the shard is known to have; another number is ingest.ErrChanged. Below 0 nobody knows
	// yet (a followed shard): then the Row of its last sample gets the number found as Items.
	Count int64
	// Labels reads them; without it no sample has a label.
	Labels bool
	// ImageColumn and LabelColumn are the columns of a table; "" finds the image by its name (image, img, jpg, jpeg, png,
	// webp, bytes) and takes "label" where there is one.
	ImageColumn, LabelColumn string
	// MaxBytes is the largest image that is read whole; of a larger one the first MaxBytes+1 bytes are returned.
	MaxBytes int64
	// MaxBatch is how many bytes of a page, batch or dictionary of a table are unpacked at most; 0 is DefaultMaxBatch.
	MaxBatch int64
	// Allocator is where records are allocated; nil means Go's heap.
	Allocator memory.Allocator
	// Row gives ID, Items and Time of a sample; the reader fills in Key and Label.
	Row func(sample int64) ingest.Row
}

// format is how a shard's bytes are arranged.
type format int

const (
	formatTar format = iota
	formatParquet
	formatArrow
)

// Is says whether a file of this name is a shard: .tar, .tar.gz, .tgz, .parquet, .arrow, .arrows or .feather, in any case.
func Is(name string) bool {
	_, known := formatOf(name)
	return known
}

func formatOf(name string) (format, bool) {
	base := strings.ToLower(path.Base(name))
	switch path.Ext(base) {
	case ".tar", ".tgz":
		return formatTar, true
	case ".parquet":
		return formatParquet, true
	case ".arrow", ".arrows", ".feather":
		return formatArrow, true
	}
	return formatTar, strings.HasSuffix(base, ".tar.gz")
}

// Count returns the number of samples and leaves o open. It finds what is damaged in a shard except the images
// themselves: a tar is read through, or skipped through where the Object can seek; of a table it reads what describes it.
func Count(ctx context.Context, o Object) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n, err := countSamples(ctx, o)
	if err == nil {
		return n, nil
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 0, fmt.Errorf("count samples: %w", err)
}

func countSamples(ctx context.Context, o Object) (_ int64, err error) {
	defer recovered(o, &err)
	switch f, _ := formatOf(o.Name()); f {
	case formatParquet:
		return countParquet(ctx, o)
	case formatArrow:
		return countArrow(ctx, o)
	}
	return countTar(ctx, o)
}

// Open takes o over, also when it fails, and reads its samples in order. Records hold up to 64 samples and about 1 MiB, or
// one larger image. Another number of samples than Count is ingest.ErrChanged. A name without a known ending is read as a
// tar. ctx is Open's alone; a reader whose Next was cancelled inside stays at that error.
func Open(ctx context.Context, o Object, opts Options) (_ ingest.Reader, err error) {
	opts.MaxBatch = cmp.Or(opts.MaxBatch, DefaultMaxBatch)
	whole, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &reader{object: o, Options: opts, cancel: cancel}
	stop := context.AfterFunc(ctx, func() { _ = r.interrupt() })
	r.samples, err = openSamples(whole, o, &r.Options)
	if interrupted := !stop(); interrupted && err == nil {
		err = ctx.Err()
		r.samples.close()
	}
	if err != nil {
		_ = r.interrupt() // the first error counts
		return nil, fmt.Errorf("read shard: %w", cmp.Or(ctx.Err(), err))
	}
	return r, nil
}

func openSamples(ctx context.Context, o Object, opts *Options) (_ samples, err error) {
	defer recovered(o, &err)
	switch f, _ := formatOf(o.Name()); f {
	case formatParquet:
		return openParquet(ctx, o, opts)
	case formatArrow:
		return openArrow(ctx, o, opts)
	}
	return openTar(ctx, o, opts)
}
