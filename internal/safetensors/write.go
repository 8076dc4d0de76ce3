package safetensors

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf8"
)

const metadataKey = "__metadata__"

// Write stores tensors in w. Equal tensors and metadata give equal bytes: the order is by element size, largest first,
// then by name. Size comes first because readers map the file and view it in place, which needs every array aligned to
// its own element. Names must be distinct valid UTF-8, and each Data as long as its dtype and shape say.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	sorted, err := order(tensors)
	if err != nil {
		return err
	}
	head, err := header(sorted, metadata)
	if err != nil {
		return err
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(len(head))); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	for _, t := range sorted {
		if _, err := w.Write(t.Data); err != nil {
			return fmt.Errorf("write tensor %s: %w", t.Name, err)
		}
	}
	return nil
}

func order(tensors []Tensor) ([]Tensor, error) {
	seen := make(map[string]bool, len(tensors))
	for _, t := range tensors {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q: name is used twice", t.Name)
		}
		seen[t.Name] = true
	}
	sorted := slices.Clone(tensors)
	slices.SortFunc(sorted, func(a, b Tensor) int {
		sa, _ := Size(a.DType) // check has passed it
		sb, _ := Size(b.DType)
		return cmp.Or(cmp.Compare(sb, sa), cmp.Compare(a.Name, b.Name))
	})
	return sorted, nil
}

func (t *Tensor) check() error {
	if t.Name == metadataKey || !utf8.ValidString(t.Name) {
		return errors.New("name is reserved or not UTF-8")
	}
	n, err := byteLen(t.DType, t.Shape)
	if err != nil {
		return err
	}
	if n != int64(len(t.Data)) {
		return fmt.Errorf("%s %v takes %d bytes, data has %d", t.DType, t.Shape, n, len(t.Data))
	}
	return nil
}

// header renders the JSON by hand where encoding/json would sort the names: entries follow the data.
func header(sorted []Tensor, metadata map[string]string) ([]byte, error) {
	b := []byte{'{'}
	if len(metadata) > 0 {
		m, err := json.Marshal(metadata)
		if err != nil {
			return nil, fmt.Errorf("marshal metadata: %w", err)
		}
		b = append(b, `"`+metadataKey+`":`...)
		b = append(b, m...)
	}
	at := int64(0)
	for i := range sorted {
		if len(b) > 1 {
			b = append(b, ',')
		}
		end := at + int64(len(sorted[i].Data))
		b = appendEntry(b, &sorted[i], at, end)
		at = end
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b) > maxHeader {
		return nil, fmt.Errorf("header takes %d bytes, more than the format's %d", len(b), maxHeader)
	}
	return b, nil
}

func appendEntry(b []byte, t *Tensor, start, end int64) []byte {
	name, _ := json.Marshal(t.Name) // a string always marshals
	b = append(b, name...)
	b = append(b, `:{"dtype":"`+t.DType+`","shape":[`...)
	for i, d := range t.Shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(d), 10)
	}
	b = append(b, `],"data_offsets":[`...)
	b = strconv.AppendInt(b, start, 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, end, 10)
	return append(b, "]}"...)
}

// WriteFile stores tensors at path. It writes beside it, syncs and renames, so that path is whole or as it was before.
func WriteFile(path string, tensors []Tensor, metadata map[string]string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write safetensors: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // not there once renamed
	if err := errors.Join(writeSynced(f, tensors, metadata), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write safetensors: %w", err)
	}
	return nil
}

func writeSynced(f *os.File, tensors []Tensor, metadata map[string]string) error {
	if err := f.Chmod(0o644); err != nil { // CreateTemp's 0600 is for secrets
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err := Write(w, tensors, metadata); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}
