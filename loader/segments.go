package loader

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// location is where an image lies in the segments.
type location struct {
	segment        uint64
	offset, length int64
}

// segments are files of images, one after the other, in the order in which they came. A file that has reached its size is
// synced and never written to again, so that a checkpoint refers to it by a link and writes the rest of the last one alone.
// What lies where follows from what came and left, not from when: runs that were resumed have the same files.
type segments struct {
	dir  string
	size int64 // at which a file is full

	all     map[uint64]*segment
	current *segment
	file    *os.File // of current
	buffer  *bufio.Writer
	sum     hash.Hash
}

// segment is one file.
type segment struct {
	id      uint64
	bytes   int64
	live    int64 // of those, of images that are in the buffer
	samples int   // that are in the buffer
	sha256  string
	emptied uint64 // the draw before which samples fell to 0
}

// openSegments makes an empty folder for segments, without what an earlier process left there: its checkpoint has links.
func openSegments(dir string, size int64) (*segments, error) {
	s := &segments{dir: dir, size: size, all: map[uint64]*segment{}}
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("open replay segments: %w", err)
	}
	return s, s.begin(0)
}

// begin makes a new current file.
func (s *segments) begin(id uint64) (err error) {
	if s.file, err = os.Create(s.path(id)); err != nil {
		return fmt.Errorf("make replay segment: %w", err)
	}
	s.buffer = bufio.NewWriterSize(s.file, 1<<18)
	s.current, s.sum = &segment{id: id}, sha256.New()
	s.all[id] = s.current
	return nil
}

func (s *segments) path(id uint64) string { return filepath.Join(s.dir, SegmentName(id)) }

// SegmentPrefix begins the name of every segment in a checkpoint.
const SegmentPrefix = "replay-"

// SegmentName is the name of a segment in a checkpoint.
func SegmentName(id uint64) string { return fmt.Sprintf(SegmentPrefix+"%09d.bin", id) }

// full says whether the current file takes no more images.
func (s *segments) full() bool { return s.current.bytes >= s.size }

// roll makes the current file durable and begins the next.
func (s *segments) roll() error {
	err := errors.Join(s.buffer.Flush(), s.file.Sync(), s.file.Close())
	if err != nil {
		return fmt.Errorf("close replay segment: %w", err)
	}
	s.current.sha256 = hex.EncodeToString(s.sum.Sum(nil))
	return s.begin(s.current.id + 1)
}

// append writes an image to the current file.
func (s *segments) append(image []byte) (location, error) {
	at := location{s.current.id, s.current.bytes, int64(len(image))}
	if _, err := s.buffer.Write(image); err != nil {
		return at, fmt.Errorf("write replay segment: %w; the buffer's images lie in %s", err, s.dir)
	}
	s.sum.Write(image)
	s.current.bytes += at.length
	return at, nil
}

// flush has all that was appended in the file.
func (s *segments) flush() error {
	if err := s.buffer.Flush(); err != nil {
		return fmt.Errorf("write replay segment: %w; the buffer's images lie in %s", err, s.dir)
	}
	return nil
}

// load returns an image.
func (s *segments) load(at location) ([]byte, error) {
	if at.segment == s.current.id {
		if err := s.flush(); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(s.path(at.segment))
	if err != nil {
		return nil, fmt.Errorf("read replay segment: %w", err)
	}
	image := make([]byte, at.length)
	_, err = f.ReadAt(image, at.offset)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read replay segment: %w", err)
	}
	return image, nil
}

// hold and drop count the samples that are in the buffer.
func (s *segments) hold(at location) {
	seg := s.all[at.segment]
	seg.live += at.length
	seg.samples++
}

func (s *segments) drop(at location, now uint64) {
	seg := s.all[at.segment]
	seg.live -= at.length
	if seg.samples--; seg.samples == 0 {
		seg.emptied = now
	}
}

// sparsest returns the file whose images should move, so that all together stay below about twice what is live; nil if
// there is none.
func (s *segments) sparsest() *segment {
	var bytes, live int64
	var worst *segment
	for _, id := range slices.Sorted(maps.Keys(s.all)) {
		seg := s.all[id]
		if seg.samples == 0 || seg == s.current {
			continue
		}
		bytes, live = bytes+seg.bytes, live+seg.live
		if worst == nil || float64(seg.live)*float64(worst.bytes) < float64(worst.live)*float64(seg.bytes) {
			worst = seg
		}
	}
	if bytes <= 2*live+4*s.size {
		return nil
	}
	return worst
}

// prune removes the files that no checkpoint of draw settled or later asks for.
func (s *segments) prune(settled uint64, tail uint64) error {
	for id, seg := range s.all {
		if seg.samples > 0 || seg.emptied >= settled || id >= tail || seg == s.current {
			continue
		}
		if err := os.Remove(s.path(id)); err != nil {
			return fmt.Errorf("remove replay segment: %w", err)
		}
		delete(s.all, id)
	}
	return nil
}

// Segment is a file of images that a checkpoint refers to.
type Segment struct {
	ID     uint64 `json:"id"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256,omitempty"` // hex; "" of the last one, which goes on
	Path   string `json:"-"`                // where it lies now
}

// named lists the files of ids, by id, and last so much of tail.
func (s *segments) named(ids map[uint64]bool, tail uint64, bytes int64) []Segment {
	var list []Segment
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if id != tail {
			list = append(list, Segment{ID: id, Bytes: s.all[id].bytes, SHA256: s.all[id].sha256, Path: s.path(id)})
		}
	}
	return append(list, Segment{ID: tail, Bytes: bytes, Path: s.path(tail)})
}

// WriteTo writes the segment's bytes.
func (s Segment) WriteTo(w io.Writer) (int64, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return 0, err
	}
	n, err := io.CopyN(w, f, s.Bytes)
	return n, errors.Join(err, f.Close())
}

// restore brings the files of a checkpoint back: by a link where it gives an *os.File of a file on the same disk.
func (s *segments) restore(list []Segment, open func(name string) (io.ReadCloser, error)) error {
	if err := errors.Join(s.file.Close(), os.Remove(s.path(s.current.id))); err != nil {
		return fmt.Errorf("restore replay segments: %w", err)
	}
	clear(s.all)
	for i, want := range list {
		if err := s.bring(want, i == len(list)-1, open); err != nil {
			return fmt.Errorf("restore replay segment %s: %w", SegmentName(want.ID), err)
		}
	}
	return nil
}

func (s *segments) bring(want Segment, last bool, open func(name string) (io.ReadCloser, error)) error {
	from, err := open(SegmentName(want.ID))
	if err != nil {
		return err
	}
	defer from.Close()
	if last {
		return s.goOn(want, from)
	}
	s.all[want.ID] = &segment{id: want.ID, bytes: want.Bytes, sha256: want.SHA256}
	if f, ok := from.(*os.File); ok && os.Link(f.Name(), s.path(want.ID)) == nil {
		return nil
	}
	to, err := os.Create(s.path(want.ID))
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Sync(), to.Close())
}

// goOn makes a copy of the last file the current one.
func (s *segments) goOn(want Segment, from io.Reader) error {
	if err := s.begin(want.ID); err != nil {
		return err
	}
	n, err := io.Copy(io.MultiWriter(s.buffer, s.sum), from)
	if err == nil && n != want.Bytes {
		err = fmt.Errorf("it has %d bytes, not %d", n, want.Bytes)
	}
	s.current.bytes = n
	return err
}

// close closes the current file. The files stay for who restores.
func (s *segments) close() error { return s.file.Close() }
