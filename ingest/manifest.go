package ingest

import (
	"errors"
	"iter"
)

// Partition is one file of a bounded source: an image, or a shard of many.
type Partition struct {
	Name  string // path below the source's root, with slashes; or object key
	Size  int64  // bytes of the file
	Count int64  // samples in it
}

// Manifest is the frozen list of a bounded source's partitions. It lies on disk and is read through an index, so that
// its memory does not grow with the number of partitions. Methods may be called concurrently.
type Manifest struct{}

// Hash names the list: SHA-256 over its canonical form, hex. It is the source column of the samples.
func (m *Manifest) Hash() string { return "" }

// Len returns the number of partitions.
func (m *Manifest) Len() int32 { return 0 }

// Samples returns the number of samples of all partitions.
func (m *Manifest) Samples() int64 { return 0 }

// Partition returns entry i in O(1).
func (m *Manifest) Partition(i int32) (Partition, error) { return Partition{}, errors.ErrUnsupported }

// Close releases the file.
func (m *Manifest) Close() error { return nil }

// WriteManifest stores the partitions in dir under their hash, durably, and opens the result. Storing the same list
// again is a no-op.
func WriteManifest(dir string, partitions iter.Seq2[Partition, error]) (*Manifest, error) {
	return nil, errors.ErrUnsupported
}

// OpenManifest opens the manifest that WriteManifest stored in dir under hash and verifies it.
func OpenManifest(dir, hash string) (*Manifest, error) { return nil, errors.ErrUnsupported }
