package ingest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// ErrChanged says that a source is no longer what its frozen manifest lists. The error around it names the file and
// what to do; reading the same partition again does not help.
var ErrChanged = errors.New("changed since its manifest was written")

// ErrManifest says that the bytes of a manifest are torn or were edited.
var ErrManifest = errors.New("manifest is damaged")

// Partition is one file of a bounded source: an image, or a shard of many.
type Partition struct {
	Name  string // path below the source's root, with slashes; or object key. 1 to MaxName bytes, with Version
	Size  int64  // bytes of the file
	Count int64  // samples in it
	// Version tells one content under this name from another: ETag and version id of an object. "" where there is none.
	Version string
}

// Manifest is the frozen list of a bounded source's partitions. It lies on disk and is read through an index, so that
// its memory does not grow with the number of partitions. Methods may be called concurrently.
type Manifest struct {
	file   io.ReaderAt
	closer io.Closer
	layout
	hash string
}

// Hash names the list: SHA-256 over its canonical form, hex. It is the source column of the samples.
func (m *Manifest) Hash() string { return m.hash }

// Len returns the number of partitions.
func (m *Manifest) Len() int32 { return m.count }

// Samples returns the number of samples of all partitions.
func (m *Manifest) Samples() int64 { return m.samples }

// Partition returns entry i in O(1).
func (m *Manifest) Partition(i int32) (Partition, error) {
	if i < 0 || i >= m.count {
		return Partition{}, fmt.Errorf("read manifest: partition %d is not in 0..%d", i, m.count-1)
	}
	p, err := m.entry(m.file, i)
	if err != nil {
		return Partition{}, fmt.Errorf("read manifest %s: partition %d: %w", m.hash, i, err)
	}
	return p, nil
}

// All yields every partition in order, read through once: much quicker than a call of Partition for each. It ends after
// the first error.
func (m *Manifest) All() iter.Seq2[Partition, error] {
	return func(yield func(Partition, error) bool) {
		r := newRecordReader(bufio.NewReaderSize(m.records(m.file), ioBuffer))
		for range m.count {
			p, err := r.next()
			if err != nil {
				yield(Partition{}, fmt.Errorf("read manifest %s: %w", m.hash, err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// Close releases the file. Partition fails afterwards.
func (m *Manifest) Close() error {
	if m.closer == nil {
		return nil
	}
	return m.closer.Close()
}

// WriteManifest stores the partitions in dir under their hash, durably, and opens the result. The folder is made when it
// is missing. Storing the same list again is a no-op. An error of the sequence is returned as it is.
func WriteManifest(dir string, partitions iter.Seq2[Partition, error]) (*Manifest, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make manifest folder: %w", err)
	}
	temp, err := os.CreateTemp(dir, ".manifest-*")
	if err != nil {
		return nil, fmt.Errorf("create manifest: %w", err)
	}
	defer os.Remove(temp.Name()) // fails after the rename, as it should
	defer temp.Close()
	hash, err := encodeManifest(temp, partitions)
	if err != nil {
		return nil, err
	}
	if m, err := OpenManifest(dir, hash); err == nil {
		return m, nil
	}
	if err := publish(temp, manifestPath(dir, hash)); err != nil {
		return nil, fmt.Errorf("store manifest: %w", err)
	}
	return OpenManifest(dir, hash)
}

// publish makes a finished temporary file appear under path, whole or not at all.
func publish(temp *os.File, path string) error {
	if err := temp.Chmod(0o644); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync() // the rename itself must survive a power cut
}

// OpenManifest opens the manifest that WriteManifest stored in dir under hash and verifies it, which reads it through
// once. The error wraps fs.ErrNotExist when there is none and ErrManifest when its bytes are not what was written.
func OpenManifest(dir, hash string) (*Manifest, error) {
	if raw, err := hex.DecodeString(hash); err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != hash {
		return nil, fmt.Errorf("open manifest: %q is not a manifest's hash", hash)
	}
	path := manifestPath(dir, hash)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open manifest: %w", err)
	}
	m, err := verifyManifest(file, hash)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open manifest %s: %w; delete it: listed again, an unchanged source gives the same list", path, err)
	}
	return m, nil
}

func verifyManifest(file *os.File, hash string) (*Manifest, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(file, info.Size())
	if err != nil {
		return nil, err
	}
	if m.hash != hash {
		return nil, fmt.Errorf("%w: its content hashes to %s", ErrManifest, m.hash)
	}
	m.closer = file
	return m, nil
}

func manifestPath(dir, hash string) string { return filepath.Join(dir, hash+".manifest") }
