package s3

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// seal is a journal as it was at one moment, without the objects before low.
type seal struct {
	file  *os.File
	size  int64
	name  string
	low   int64
	state state
}

// WriteTo implements io.WriterTo. It may be called again and writes the same.
func (s *seal) WriteTo(w io.Writer) (int64, error) {
	out := &counting64{w: w}
	b := bufio.NewWriterSize(out, 64<<10)
	err := s.write(b)
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		return out.n, fmt.Errorf("write the list of followed objects: %w", err)
	}
	return out.n, nil
}

func (s *seal) write(w *bufio.Writer) error {
	entries := newJournalReader(io.NewSectionReader(s.file, 0, s.size))
	put := func(payload []byte) error {
		_, err := w.Write(appendEntry(nil, payload))
		return err
	}
	if err := put(firstPayload(s.name)); err != nil {
		return err
	}
	var k knowledge // its seen stays nil
	// What is remembered goes first: the base has to be known, and stands before the first object.
	based := false
	base := func() error {
		if based {
			return nil
		}
		based = true
		return put(basePayload(k.next, k.link))
	}
	for {
		e, err := entries.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = s.carry(e, &k, put, base)
		}
		if err != nil {
			return err
		}
	}
	if err := base(); err != nil {
		return err
	}
	return put(statePayload(s.state))
}

// carry writes what is still needed of an entry.
func (s *seal) carry(e entry, k *knowledge, put func([]byte) error, base func() error) error {
	switch {
	case e.kind == entryObject && e.object.ordinal >= s.low:
		if err := base(); err != nil {
			return err
		}
		if err := put(e.payload); err != nil {
			return err
		}
	case e.kind == entryObject && e.object.Modified.Unix() >= s.state.forget:
		if err := put(seenPayload(printOf(e.object.Key, e.object.ETag), e.object.Modified.Unix())); err != nil {
			return err
		}
	case e.kind == entrySeen && e.seconds >= s.state.forget:
		if err := put(e.payload); err != nil {
			return err
		}
	}
	return k.apply(e)
}

// counting64 counts what is written.
type counting64 struct {
	w io.Writer
	n int64
}

func (c *counting64) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
