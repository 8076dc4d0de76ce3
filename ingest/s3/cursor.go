package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// cursor reads the objects of a catalog in order, while others are added.
type cursor struct {
	*Follow
	next       int64 // ordinal wanted
	file       *os.File
	generation int
	offset     int64 // in file
	entries    *journalReader
}

// take returns the next object. It waits until there is one.
func (c *cursor) take(ctx context.Context) (found, error) {
	for {
		o, err := c.read()
		if !errors.Is(err, io.EOF) {
			return o, err
		}
		more, err := c.refresh()
		if err != nil {
			return found{}, err
		}
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return found{}, ctx.Err()
		}
	}
}

// read returns the next object of what is visible, io.EOF when there is none.
func (c *cursor) read() (found, error) {
	if c.entries == nil {
		return found{}, io.EOF
	}
	for {
		e, err := c.entries.next()
		if errors.Is(err, io.EOF) {
			c.offset += c.entries.read
			c.entries = nil
			return found{}, io.EOF
		}
		if err != nil {
			return found{}, fmt.Errorf("read %s: %w", c.file.Name(), err)
		}
		if e.kind != entryObject || e.object.ordinal < c.next {
			continue
		}
		if e.object.ordinal > c.next {
			return found{}, fmt.Errorf("read %s: %w: object %d is missing", c.file.Name(), errJournal, c.next)
		}
		c.next++
		return e.object, nil
	}
}

// refresh makes more visible, or returns the channel to wait on. The scanner's error comes once all was read.
func (c *cursor) refresh() (<-chan struct{}, error) {
	k := c.catalog
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.file == nil || c.generation != k.generation {
		c.close()
		file, err := os.Open(k.path(journalFile))
		if err != nil {
			return nil, err
		}
		c.file, c.generation, c.offset = file, k.generation, 0
	}
	if c.offset < k.size {
		c.entries = newJournalReader(io.NewSectionReader(c.file, c.offset, k.size-c.offset))
		return nil, nil
	}
	if c.failed != nil {
		return nil, c.failed
	}
	return k.changed, nil
}

func (c *cursor) close() {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}
