// Package shard reads samples out of shards, wherever their bytes lie: tar and tar.gz in WebDataset's convention,
// Parquet (image bytes in a column, or Hugging Face's struct of bytes and path) and Arrow IPC. Sources on a disk and in
// a bucket share it.
package shard

import (
	"context"
	"io"
)

// Object is the bytes of one shard. It is used by one goroutine at a time, except Close, which unblocks a read.
type Object interface {
	// Name is a path or URL, for messages.
	Name() string
	// Size is the length in bytes.
	Size() int64
	// ReaderAt reads anywhere; columnar formats need it. ctx of Open bounds it.
	io.ReaderAt
	// From reads on from a byte, for formats that are read through.
	From(ctx context.Context, offset int64) (io.ReadCloser, error)
	Close() error
}
