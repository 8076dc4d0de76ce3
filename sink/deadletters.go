package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"mocostream/loader"
)

// DeadLettersFile is the name of the dead letters in a run folder.
const DeadLettersFile = "dead-letters.jsonl"

// DeadLetters appends what could not be decoded to dead-letters.jsonl, one loader.DeadLetter a line. A checkpoint refers
// to the length of the file (Sync), and a run that resumes cuts it there (Truncate): each bad image is recorded exactly
// once in the history that survives. Its methods may be called concurrently.
type DeadLetters struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64 // bytes of whole lines
}

// OpenDeadLetters opens the dead letters of the run folder dir to append to them. The folder must be this process's (see
// Store).
func OpenDeadLetters(dir string) (*DeadLetters, error) {
	path := filepath.Join(dir, DeadLettersFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	d := &DeadLetters{path: path, file: f}
	if err := d.open(dir); err != nil {
		return nil, fmt.Errorf("open dead letters %s: %w", path, errors.Join(err, f.Close()))
	}
	return d, nil
}

func (d *DeadLetters) open(dir string) error {
	size, err := d.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if d.size, err = d.lineEnd(size); err != nil {
		return err
	}
	return errors.Join(d.file.Truncate(d.size), syncDir(dir))
}

// Write appends letters. On error none of them counts as written. They are durable after Sync.
func (d *DeadLetters) Write(letters []loader.DeadLetter) error {
	var lines []byte
	for _, l := range letters {
		line, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("write dead letter of %s: %w", l.Key, err)
		}
		lines = append(append(lines, line...), '\n')
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// At d.size and not at the end: the part that an earlier failed write left is written over.
	if _, err := d.file.WriteAt(lines, d.size); err != nil {
		return fmt.Errorf("write dead letters: %w", errors.Join(err, d.file.Truncate(d.size)))
	}
	d.size += int64(len(lines))
	return nil
}

// Sync makes what was written durable and returns the length of the file in bytes, for a checkpoint to refer to.
func (d *DeadLetters) Sync() (bytes int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.file.Sync(); err != nil {
		return 0, fmt.Errorf("sync dead letters: %w", err)
	}
	return d.size, nil
}

// Truncate cuts the file to the n bytes that a checkpoint refers to (0 without one). Where the file is shorter or no
// line ends there, because somebody changed it, it keeps the whole lines within n, and an error that wraps ErrChanged says
// so; the caller may go on, with the letters that are left.
func (d *DeadLetters) Truncate(n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n < 0 {
		return fmt.Errorf("cut dead letters %s: length %d is negative", d.path, n)
	}
	end, err := d.lineEnd(min(n, d.size))
	if err != nil {
		return fmt.Errorf("cut dead letters %s: %w", d.path, err)
	}
	if err := errors.Join(d.file.Truncate(end), d.file.Sync()); err != nil {
		return fmt.Errorf("cut dead letters %s: %w", d.path, err)
	}
	d.size = end
	if end != n {
		return fmt.Errorf("cut dead letters %s: %w: the checkpoint refers to %d bytes, %d are left", d.path, ErrChanged, n, end)
	}
	return nil
}

// ErrChanged is wrapped by Truncate's error about a file that is not as the checkpoint left it.
var ErrChanged = errors.New("the file was changed by somebody else")

// Close syncs and closes the file.
func (d *DeadLetters) Close() error {
	_, err := d.Sync()
	return errors.Join(err, d.file.Close())
}

// lineEnd returns the end of the last whole line within the first n bytes.
func (d *DeadLetters) lineEnd(n int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for n > 0 {
		part := buf[:min(n, int64(len(buf)))]
		if _, err := d.file.ReadAt(part, n-int64(len(part))); err != nil {
			return 0, err
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] == '\n' {
				return n - int64(len(part)-1-i), nil
			}
		}
		n -= int64(len(part))
	}
	return 0, nil
}
