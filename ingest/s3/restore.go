package s3

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// openCatalog brings together what a checkpoint knows (nil: there is none) and what the folder knows. The folder may know
// more, and keeps it if it agrees with the checkpoint on everything that one knows.
func openCatalog(dir, name string, checkpoint io.Reader, begin state, warn func(string)) (*catalog, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of the follower: %w", err)
	}
	c := &catalog{dir: dir, name: name, changed: make(chan struct{})}
	c.seen = map[print]uint32{}
	wanted := &knowledge{state: begin}
	if checkpoint != nil {
		var err error
		if wanted, err = c.stage(checkpoint); err != nil {
			return nil, err
		}
	}
	agrees, err := c.load(wanted)
	switch {
	case err == nil && agrees:
		return c, removeFile(c.path(restoreFile))
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errJournal) && !errors.Is(err, errOther):
		return nil, err
	case err == nil:
		warn(fmt.Sprintf("%s knows another history of %s than the checkpoint, which counts", c.path(journalFile), name))
	case !errors.Is(err, fs.ErrNotExist):
		warn(fmt.Sprintf("%s is not used: %v", c.path(journalFile), err))
	}
	return c, c.restore(checkpoint != nil, begin)
}

// stage stores a checkpoint's journal and returns what it says, without what it remembers.
func (c *catalog) stage(checkpoint io.Reader) (*knowledge, error) {
	file, err := createFile(c.path(restoreFile), copied{checkpoint})
	if err != nil {
		return nil, fmt.Errorf("take the list of followed objects out of the checkpoint: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	k := &knowledge{}
	if _, err := k.replay(bufio.NewReader(file), c.name, nil); err != nil {
		return nil, fmt.Errorf("read the list of followed objects in the checkpoint: %w; resume with the ingest.s3 that it was made with", err)
	}
	return k, nil
}

type copied struct{ io.Reader }

func (c copied) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, c.Reader) }

// load reads the folder's journal, cuts off a torn end, and says whether it agrees with what is wanted.
func (c *catalog) load(wanted *knowledge) (agrees bool, err error) {
	file, err := os.OpenFile(c.path(journalFile), os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	same := false
	whole, err := c.replay(file, c.name, func(k *knowledge) {
		same = same || k.next == wanted.next && k.link == wanted.link
	})
	same = same || c.next == wanted.next && c.link == wanted.link
	if whole == 0 || err != nil && !errors.Is(err, errJournal) {
		file.Close()
		return false, err
	}
	if !same || c.base > wanted.base {
		return false, file.Close()
	}
	return true, c.use(file, whole)
}

// use goes on with a journal that was read.
func (c *catalog) use(file *os.File, whole int64) error {
	err := file.Truncate(whole)
	if err == nil {
		_, err = file.Seek(whole, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return err
	}
	c.file, c.out = file, bufio.NewWriterSize(file, 64<<10)
	c.written, c.compacted = whole, whole
	c.keep, c.sealed = c.base, c.base
	c.publish()
	c.seenCount.Store(int64(len(c.seen)))
	return nil
}

// restore begins with the checkpoint's journal, or with none.
func (c *catalog) restore(staged bool, begin state) error {
	if err := removeFile(c.path(knownFile)); err != nil { // of another history
		return err
	}
	if !staged {
		file, err := createFile(c.path(restoreFile), fresh{c.name, begin})
		if err != nil {
			return err
		}
		file.Close()
	}
	if err := replaceFile(c.path(restoreFile), c.path(journalFile)); err != nil {
		return err
	}
	c.knowledge = knowledge{seen: map[print]uint32{}}
	file, err := os.OpenFile(c.path(journalFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	whole, err := c.replay(file, c.name, nil)
	if err != nil {
		file.Close()
		return err
	}
	return c.use(file, whole)
}

// fresh is the journal of a stream that has not begun.
type fresh struct {
	name  string
	begin state
}

func (f fresh) WriteTo(w io.Writer) (int64, error) {
	raw := appendEntry(nil, firstPayload(f.name))
	raw = appendEntry(raw, basePayload(0, link{}))
	n, err := w.Write(appendEntry(raw, statePayload(f.begin)))
	return int64(n), err
}
