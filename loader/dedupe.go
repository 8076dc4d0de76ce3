package loader

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Ways to tell that a sample of a stream came before.
const (
	DedupeKey    = "key"    // by the sample's key; one without a key is always new
	DedupeSHA256 = "sha256" // by the bytes of the image
)

// fingerprint is the first half of a SHA-256.
type fingerprint [16]byte

// Window remembers the latest samples of a stream, so that what comes again is passed over. It belongs to a run, not to
// a Stream: a checkpoint holds it as of the last finished batch (At), while the loader runs ahead. Its methods may be
// called concurrently.
type Window struct {
	by   string
	size uint64

	mu         sync.Mutex
	base       uint64 // position of prints[0]
	prints     []fingerprint
	last       map[fingerprint]uint64 // position at which each was seen last
	settled    uint64                 // positions before it are of finished batches
	duplicates uint64
}

// NewWindow makes an empty window over the last size samples; by is DedupeKey or DedupeSHA256.
func NewWindow(by string, size int) (*Window, error) {
	if by != DedupeKey && by != DedupeSHA256 {
		return nil, fmt.Errorf("make dedupe window: %q is no way to tell samples apart; use %s or %s", by, DedupeKey, DedupeSHA256)
	}
	if size < 1 {
		return nil, fmt.Errorf("make dedupe window: size is %d; use at least 1", size)
	}
	return &Window{by: by, size: uint64(size), last: map[fingerprint]uint64{}}, nil
}

// Duplicates returns how many samples were passed over.
func (w *Window) Duplicates() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.duplicates
}

// admit says whether s, which would stand at position, is new, and remembers it if so.
func (w *Window) admit(s *Sample, position uint64) bool {
	print, known := w.fingerprint(s)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.prints) == 0 {
		w.base = position
	}
	if at, seen := w.last[print]; known && seen && position-at <= w.size {
		w.duplicates++
		return false
	}
	w.prints = append(w.prints, print)
	if known {
		w.last[print] = position
	}
	w.forget()
	return true
}

// fingerprint returns false for what is never a duplicate; its print then only keeps the place.
func (w *Window) fingerprint(s *Sample) (fingerprint, bool) {
	var sum [32]byte
	switch {
	case s.Problem() != "":
		return fingerprint{}, false
	case w.by == DedupeSHA256:
		sum = sha256.Sum256(s.Image())
	case s.Key() == "":
		return fingerprint{}, false
	default:
		sum = sha256.Sum256([]byte(s.Key()))
	}
	return fingerprint(sum[:16]), true
}

// Settle says that the samples before position are of finished batches: no checkpoint will ask for an older window.
func (w *Window) Settle(position uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled = max(w.settled, position)
	w.forget()
}

// forget drops what neither the loader nor a checkpoint asks for any more. Half of the prints at least stay, so that the
// copying costs little.
func (w *Window) forget() {
	if w.settled < w.base+w.size {
		return
	}
	drop := w.settled - w.size - w.base
	if drop < uint64(len(w.prints))/2 {
		return
	}
	for i, print := range w.prints[:drop] {
		if w.last[print] == w.base+uint64(i) {
			delete(w.last, print)
		}
	}
	w.prints = append([]fingerprint(nil), w.prints[drop:]...)
	w.base += drop
}

const windowMagic = "mocostream dup 1"

// At returns the window as it was when the samples before position had been admitted, to be written into a checkpoint.
func (w *Window) At(position uint64) io.WriterTo {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := min(max(position, w.base)-w.base, uint64(len(w.prints)))
	start := end - min(end, w.size)
	return savedWindow{w.base + start, append([]fingerprint(nil), w.prints[start:end]...)}
}

type savedWindow struct {
	base   uint64
	prints []fingerprint
}

// WriteTo writes the magic, position and number as uint64, and the fingerprints.
func (s savedWindow) WriteTo(to io.Writer) (int64, error) {
	head := binary.LittleEndian.AppendUint64([]byte(windowMagic), s.base)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(s.prints)))
	b := bufio.NewWriter(to)
	b.Write(head)
	for _, print := range s.prints {
		b.Write(print[:])
	}
	return int64(len(head) + len(fingerprint{})*len(s.prints)), b.Flush()
}

// Restore fills an empty window with what At wrote.
func (w *Window) Restore(from io.Reader) error {
	b := bufio.NewReader(from)
	var head [len(windowMagic) + 16]byte
	if _, err := io.ReadFull(b, head[:]); err != nil || string(head[:len(windowMagic)]) != windowMagic {
		return fmt.Errorf("read dedupe window: not one of this program (%v)", err)
	}
	base := binary.LittleEndian.Uint64(head[len(windowMagic):])
	n := binary.LittleEndian.Uint64(head[len(windowMagic)+8:])
	w.mu.Lock()
	defer w.mu.Unlock()
	w.base, w.settled = base, base+n
	for i := range n {
		var print fingerprint
		if _, err := io.ReadFull(b, print[:]); err != nil {
			return fmt.Errorf("read dedupe window: entry %d of %d: %w", i, n, io.ErrUnexpectedEOF)
		}
		w.prints = append(w.prints, print)
		if print != (fingerprint{}) {
			w.last[print] = base + i
		}
	}
	w.forget() // of a window that was larger once
	return nil
}
