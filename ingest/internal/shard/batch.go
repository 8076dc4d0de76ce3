package shard

import (
	"io"
	"strings"

	"mocostream/ingest"
)

const (
	maxRows  = 64      // samples of a record
	maxBatch = 1 << 20 // bytes of images and keys of a record of several samples
)

// batch is a record in the making.
type batch struct {
	*ingest.Builder
	options *Options
	keys    int   // bytes
	last    int64 // sample appended last
}

// full says whether an image of size bytes has to wait for the next record.
func (b *batch) full(size int64) bool {
	return b.Len() == maxRows || b.Len() > 0 && int64(b.Bytes()+b.keys)+b.cut(size) > maxBatch
}

// cut is how many bytes of an image are handed out.
func (b *batch) cut(size int64) int64 { return min(size, b.options.MaxBytes+1) }

func (b *batch) row(sample int64, key string, label *int32) ingest.Row {
	row := b.options.Row(sample)
	row.Key, row.Label = strings.ToValidUTF8(key, "\uFFFD"), label
	b.keys += len(row.Key)
	b.last = sample
	return row
}

// appendFrom adds a sample whose image is the next size bytes of r.
func (b *batch) appendFrom(sample int64, key string, label *int32, r io.Reader, size int64) error {
	return b.AppendFrom(b.row(sample, key, label), r, int(b.cut(size)))
}

// append adds a sample whose image is at hand. A problem says why there is none.
func (b *batch) append(sample int64, key string, label *int32, image []byte, problem string) {
	row := b.row(sample, key, label)
	row.Problem = problem
	b.Append(row, image[:b.cut(int64(len(image)))])
}
