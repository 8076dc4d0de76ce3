package s3

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	knownFile  = "follow.known"
	longestKey = 4 << 10
)

// known is the keys, in order, that are too old to be remembered in memory: what is as old and not among them came late.
// Each key is stored as the bytes that it shares with the one before (varint), those that follow (varint) and these.
// One that is missing is no harm: then one scan cannot tell what came late.
type known struct {
	path string
	from *bufio.Reader // nil: there is none, or it is read
	had  bool
	file *os.File // being written
	to   *bufio.Writer
	last string // written
	key  string // of from
	old  *os.File
}

// openKnown reads the list in a folder and writes the next one.
func openKnown(dir string) (*known, error) {
	k := &known{path: filepath.Join(dir, knownFile)}
	var err error
	if k.old, err = os.Open(k.path); err == nil {
		k.from, k.had = bufio.NewReaderSize(k.old, 64<<10), true
		err = k.advance()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.close()
		return nil, err
	}
	if k.file, err = os.OpenFile(k.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		k.close()
		return nil, err
	}
	k.to = bufio.NewWriterSize(k.file, 64<<10)
	return k, nil
}

// take adds a key and says whether the list before has it. Keys come in order.
func (k *known) take(key string) (found bool, err error) {
	for k.from != nil && k.key < key {
		if err := k.advance(); err != nil {
			return false, err
		}
	}
	if _, err := k.to.Write(appendKey(nil, k.last, key)); err != nil {
		return false, err
	}
	k.last = key
	return k.from != nil && k.key == key, nil
}

func appendKey(b []byte, last, key string) []byte {
	shared := 0
	for shared < len(last) && shared < len(key) && last[shared] == key[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	return appendText(b, key[shared:])
}

// advance reads the next key; from is nil after the last.
func (k *known) advance() error {
	key, err := readKey(k.from, k.key)
	switch {
	case errors.Is(err, io.EOF):
		k.from = nil
		return nil
	case errors.Is(err, errJournal): // as if there were none
		k.from, k.had = nil, false
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", k.path, err)
	}
	k.key = key
	return nil
}

func readKey(r *bufio.Reader, last string) (string, error) {
	shared, err := binary.ReadUvarint(r)
	if err != nil {
		return "", err
	}
	more, err := binary.ReadUvarint(r)
	if err != nil || shared > uint64(len(last)) || more > longestKey {
		return "", errJournal
	}
	var b strings.Builder
	b.WriteString(last[:shared])
	if _, err := io.CopyN(&b, r, int64(more)); err != nil {
		return "", errJournal
	}
	return b.String(), nil
}

// replace puts the new list in the old one's place.
func (k *known) replace() error {
	err := k.to.Flush()
	if err == nil {
		err = k.file.Sync()
	}
	if err == nil {
		err = replaceFile(k.path+".new", k.path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", k.path, err)
	}
	return nil
}

func (k *known) close() {
	if k.old != nil {
		k.old.Close()
	}
	if k.file != nil {
		k.file.Close()
		_ = removeFile(k.path + ".new") // there only if the scan failed
	}
}
