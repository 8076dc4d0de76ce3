package s3

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

const (
	journalFile = "follow.journal"
	restoreFile = "follow.restore" // a checkpoint's journal, until it has been compared
	compactFile = "follow.compact" // the journal to come
	compactFrom = 4 << 20          // bytes; shorter journals are left alone
)

// knowledge is what a journal says.
type knowledge struct {
	base  int64 // ordinal of the first object in the journal
	next  int64 // ordinal for the next object
	link  link  // of all objects before next
	state state
	seen  map[print]uint32 // seconds of the newest object; nil: not wanted
}

func (k *knowledge) apply(e entry) error {
	switch e.kind {
	case entryBase:
		if k.next != k.base || e.base < 0 {
			return fmt.Errorf("%w: its base is not at its beginning", errJournal)
		}
		k.base, k.next, k.link = e.base, e.base, e.link
	case entryObject:
		if e.object.ordinal != k.next {
			return fmt.Errorf("%w: object %d stands where %d belongs", errJournal, e.object.ordinal, k.next)
		}
		k.next++
		k.link = k.link.after(e.payload)
		k.remember(printOf(e.object.Key, e.object.ETag), e.object.Modified.Unix())
	case entrySeen:
		k.remember(e.print, e.seconds)
	case entryState:
		k.state = e.state
	}
	return nil
}

func (k *knowledge) remember(p print, seconds int64) {
	if k.seen != nil {
		k.seen[p] = max(k.seen[p], clampSeconds(seconds))
	}
}

// forget drops what is too old to be remembered.
func (k *knowledge) forget() {
	for p, seconds := range k.seen {
		if int64(seconds) < k.state.forget {
			delete(k.seen, p)
		}
	}
}

// replay reads a journal of a stream into k and calls visit, unless it is nil, before each object. It returns the bytes
// that are whole, also with an error.
func (k *knowledge) replay(r io.Reader, name string, visit func(k *knowledge)) (whole int64, err error) {
	entries := newJournalReader(r)
	first, err := entries.next()
	if err != nil || first.kind != entryFirst {
		return 0, fmt.Errorf("%w: it does not begin as a journal does", errJournal)
	}
	if first.name != name {
		return 0, fmt.Errorf("%w: it is of %s, not of %s", errOther, first.name, name)
	}
	for {
		whole = entries.read
		e, err := entries.next()
		if errors.Is(err, io.EOF) {
			k.forget()
			return whole, nil
		}
		if err == nil {
			if e.kind == entryObject && visit != nil {
				visit(k)
			}
			err = k.apply(e)
		}
		if err != nil {
			k.forget()
			return whole, err
		}
	}
}

// errOther says that a journal belongs to another prefix.
var errOther = errors.New("journal of another stream")

// catalog is a Follow's knowledge with its journal on disk. One goroutine at a time adds to it; others read what it has
// published.
type catalog struct {
	dir, name string
	knowledge // of the goroutine that adds
	out       *bufio.Writer
	written   int64 // bytes given to out
	compacted int64 // bytes after the last compaction
	seenCount atomic.Int64

	mu         sync.Mutex
	file       *os.File
	generation int   // of file: compaction makes a new one
	size       int64 // bytes of file that are durable, for others to read
	ready      int64 // ordinal behind the last durable object
	published  state
	changed    chan struct{} // closed, and made anew, when there is more
	sealed     int64         // first object that the newest seal needs
	keep       int64         // first object that an older seal needs: others may be dropped
}

// add appends an entry, which is published by commit.
func (c *catalog) add(payload []byte) error {
	if len(payload) > longestEntry {
		return fmt.Errorf("follow %s: an object's name of %d bytes is too long", c.name, len(payload))
	}
	raw := appendEntry(nil, payload)
	if _, err := c.out.Write(raw); err != nil {
		return fmt.Errorf("write %s: %w", c.path(journalFile), err)
	}
	c.written += int64(len(raw))
	e, err := parseEntry(payload)
	if err == nil {
		err = c.apply(e)
	}
	return err
}

// commit makes what was added durable and shows it to readers.
func (c *catalog) commit() error {
	c.seenCount.Store(int64(len(c.seen)))
	if c.written == c.size {
		return nil
	}
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", c.path(journalFile), err)
	}
	if err := c.file.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", c.path(journalFile), err)
	}
	c.publish()
	return nil
}

func (c *catalog) publish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size, c.ready, c.published = c.written, c.next, c.state
	close(c.changed)
	c.changed = make(chan struct{})
}

// seal returns the journal as it is, without objects before low. The caller holds mu.
func (c *catalog) seal(low int64) *seal {
	return &seal{file: c.file, size: c.size, name: c.name, low: low, state: c.published}
}

func (c *catalog) path(name string) string { return filepath.Join(c.dir, name) }

// compact drops what no resume needs any more, once that is worth it.
func (c *catalog) compact() error {
	if c.written < compactFrom || c.written < 2*c.compacted {
		return nil
	}
	c.mu.Lock()
	s := c.seal(max(c.keep, c.base))
	c.mu.Unlock()
	temp, err := createFile(c.path(compactFile), s)
	if err != nil {
		return err
	}
	if err := replaceFile(c.path(compactFile), c.path(journalFile)); err != nil {
		temp.Close()
		return err
	}
	return c.adopt(temp, s.low)
}

// adopt goes on with a journal of the same objects from ordinal low on.
func (c *catalog) adopt(file *os.File, low int64) error {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		file.Close()
		return err
	}
	c.mu.Lock()
	// The file before is not closed: seals may have to read it still. The runtime closes it behind the last of them.
	c.file, c.out = file, bufio.NewWriterSize(file, 64<<10)
	c.generation++
	c.base = low
	c.written, c.compacted, c.size = size, size, size
	c.mu.Unlock()
	c.publish()
	return nil
}

func (c *catalog) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.file.Close()
}

// createFile writes a file durably and leaves it open for appending.
func createFile(path string, content io.WriterTo) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(file, 64<<10)
	_, err = content.WriteTo(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return file, nil
}

// replaceFile renames a file so that no power cut undoes it.
func replaceFile(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
