package shard

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"mocostream/ingest"
)

// IndexName is the name of the index that lies beside shards.
const IndexName = "index.jsonl"

const (
	maxIndexLine    = 8 * ingest.MaxName // bytes; a name may be escaped
	maxIndexEntries = 1 << 20
)

// Entry is what an index says of one shard.
type Entry struct {
	Name    string `json:"name"` // path below the index's folder, with slashes
	Size    int64  `json:"size"` // bytes
	Samples int64  `json:"samples"`
	SHA256  string `json:"sha256"` // hex
	ETag    string `json:"etag,omitempty"`
}

// WriteIndex writes one JSON object a line, in the order of the names.
func WriteIndex(w io.Writer, entries []Entry) error {
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, e := range sorted {
		if err := encoder.Encode(e); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// ReadIndex returns the entries by name. It refuses more than a million, and any that cannot be.
func ReadIndex(r io.Reader) (map[string]Entry, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxIndexLine)
	all := map[string]Entry{}
	for number := 1; lines.Scan(); number++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var e Entry
		err := json.Unmarshal(line, &e)
		if err == nil {
			err = e.check()
		}
		if err == nil && all[e.Name].Name != "" {
			err = fmt.Errorf("%.100q is listed twice", e.Name)
		}
		if err == nil && len(all) == maxIndexEntries {
			err = fmt.Errorf("more than %d shards", maxIndexEntries)
		}
		if err != nil {
			return nil, fmt.Errorf("read index: line %d: %w", number, err)
		}
		all[e.Name] = e
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return all, nil
}

func (e Entry) check() error {
	switch {
	case e.Name == "" || len(e.Name) > ingest.MaxName:
		return fmt.Errorf("a name of %d bytes", len(e.Name))
	case e.Size < 0 || e.Samples < 0:
		return fmt.Errorf("%.100q has %d bytes and %d samples", e.Name, e.Size, e.Samples)
	}
	if raw, err := hex.DecodeString(e.SHA256); e.SHA256 != "" && (err != nil || len(raw) != 32) {
		return fmt.Errorf("%.100q has no SHA-256", e.Name)
	}
	return nil
}

// ErrStale says that an index does not describe a shard as it is.
var ErrStale = errors.New("the index is out of date; write it again with: mocostream index")

// CountOf returns the number of samples that an index knows a shard of this size by. ok is false where the index does
// not list it; where it lists another size the error wraps ErrStale, and the shard is to be counted.
func CountOf(index map[string]Entry, name string, size int64) (samples int64, ok bool, err error) {
	e, ok := index[name]
	if !ok {
		return 0, false, nil
	}
	if e.Size != size {
		return 0, false, fmt.Errorf("%s has %d bytes, its index says %d: %w", name, size, e.Size, ErrStale)
	}
	return e.Samples, true, nil
}
