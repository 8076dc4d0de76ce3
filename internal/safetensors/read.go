package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf8"
)

// maxHeader is the format's own limit for the JSON header.
const maxHeader = 100_000_000

// ErrFormat is wrapped by every error that says the bytes are not a valid safetensors file, as against one that could
// not be read.
var ErrFormat = errors.New("not a valid safetensors file")

// Read returns the tensors of the size bytes in r, in the order of their data, each with its own Data, and the
// metadata (nil if there is none). Everything is checked before anything is allocated for it: offsets within the file,
// no overlap, no hole, lengths that fit dtype and shape.
func Read(r io.ReaderAt, size int64) ([]Tensor, map[string]string, error) {
	head, err := readHeader(r, size)
	if err != nil {
		return nil, nil, err
	}
	entries, metadata, err := parseHeader(head)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	base := 8 + int64(len(head))
	if err := layout(entries, size-base); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	tensors := make([]Tensor, len(entries))
	for i, e := range entries {
		data := make([]byte, e.end-e.start)
		if err := readFull(r, data, base+e.start); err != nil {
			return nil, nil, fmt.Errorf("read tensor %s: %w", e.name, err)
		}
		tensors[i] = Tensor{Name: e.name, DType: e.dtype, Shape: e.shape, Data: data}
	}
	return tensors, metadata, nil
}

// ReadFile is Read of the file at path.
func ReadFile(path string) ([]Tensor, map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read safetensors: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read safetensors: %w", err)
	}
	tensors, metadata, err := Read(f, st.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	return tensors, metadata, nil
}

func readHeader(r io.ReaderAt, size int64) ([]byte, error) {
	if size < 8 {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrFormat, size)
	}
	var word [8]byte
	if err := readFull(r, word[:], 0); err != nil {
		return nil, fmt.Errorf("read header length: %w", err)
	}
	n := binary.LittleEndian.Uint64(word[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("%w: header of %d bytes in a file of %d", ErrFormat, n, size)
	}
	head := make([]byte, n)
	if err := readFull(r, head, 8); err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	if !bytes.HasPrefix(head, []byte("{")) || !utf8.Valid(head) {
		return nil, fmt.Errorf("%w: header is not a JSON object", ErrFormat)
	}
	return head, nil
}

// layout sorts the entries by their place and checks that they cover the n bytes of data exactly once.
func layout(entries []entry, n int64) error {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
	})
	at := int64(0)
	for _, e := range entries {
		if e.start != at || e.end < e.start || e.end > n {
			return fmt.Errorf("tensor %q has offsets %d to %d, want them from %d and within %d", e.name, e.start, e.end, at, n)
		}
		want, err := byteLen(e.dtype, e.shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.name, err)
		}
		if want != e.end-e.start {
			return fmt.Errorf("tensor %q: %s %v takes %d bytes, offsets give %d", e.name, e.dtype, e.shape, want, e.end-e.start)
		}
		at = e.end
	}
	if at != n {
		return fmt.Errorf("tensors cover %d of %d bytes", at, n)
	}
	return nil
}

// readFull fills b. A ReaderAt may return io.EOF along with the last byte, which is no error here.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		return noEOF(err)
	}
	return nil
}

// noEOF names a file that ends before its stated size.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
