package train

import (
	"fmt"
	"math"

	"mocostream/augment"
	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// Rows numbers the images of a bounded source from 0 in the order of its manifest. It may be used concurrently.
type Rows struct {
	source string  // the manifest's hash
	starts []int64 // by partition its first image, and after the last the number of images
}

// NewRows numbers the images that m lists.
func NewRows(m *ingest.Manifest) (*Rows, error) {
	r := &Rows{source: m.Hash(), starts: make([]int64, 1, int(m.Len())+1)}
	for p, err := range m.All() {
		if err != nil {
			return nil, err
		}
		r.starts = append(r.starts, r.starts[len(r.starts)-1]+p.Count)
	}
	if n := r.starts[len(r.starts)-1]; n > math.MaxInt32 {
		return nil, fmt.Errorf("%d images are too many to number; the most is %d", n, math.MaxInt32)
	}
	return r, nil
}

// Len is the number of images.
func (r *Rows) Len() int { return int(r.starts[len(r.starts)-1]) }

// of returns the rows of a batch's images.
func (r *Rows) of(b *augment.Batch) ([]int32, error) {
	sources := b.Record.Column(augment.ColSource).(*array.String)
	partitions := b.Record.Column(augment.ColPartition).(*array.Int32)
	offsets := b.Record.Column(augment.ColOffset).(*array.Int64)
	rows := make([]int32, b.Len())
	for i := range rows {
		var err error
		if rows[i], err = r.row(sources.Value(i), partitions.Value(i), offsets.Value(i)); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// row is the number of an image.
func (r *Rows) row(source string, partition int32, offset int64) (int32, error) {
	known := source == r.source && partition >= 0 && int(partition) < len(r.starts)-1
	if !known || offset < 0 || offset >= r.starts[partition+1]-r.starts[partition] {
		return 0, fmt.Errorf("image %d of partition %d of %s is not in the list %s that the bank was made for", offset, partition, source, r.source)
	}
	return int32(r.starts[partition] + offset), nil
}
