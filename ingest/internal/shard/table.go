package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"mocostream/ingest"
)

// tableRow is a row of a table. Its bytes hold until the next is asked for.
type tableRow struct {
	image []byte // nil: null
	key   []byte // empty: none
	label *int64 // nil: none
}

// tableRows walks through a table.
type tableRows interface {
	// next returns a row, io.EOF after the last.
	next(ctx context.Context) (tableRow, error)
	close()
}

// tableSamples are the samples of a table: its rows.
type tableSamples struct {
	*Options
	object  *watched
	rows    tableRows
	at      int64     // row that comes next
	pending *tableRow // row at, read already
}

// fill implements samples.
func (t *tableSamples) fill(ctx context.Context, b *batch) error {
	err := t.add(ctx, b)
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, ingest.ErrChanged):
		return err
	}
	return t.object.explain(fmt.Errorf("sample %d: %w", t.at, err))
}

func (t *tableSamples) add(ctx context.Context, b *batch) error {
	for {
		row, err := t.take(ctx)
		if err != nil {
			return err
		}
		if b.full(int64(len(row.image))) {
			t.pending = &row
			return nil
		}
		if err := t.append(b, row); err != nil {
			return err
		}
		t.at++
	}
}

// take returns the next row, io.EOF after the last of a table that is as listed.
func (t *tableSamples) take(ctx context.Context) (tableRow, error) {
	if row := t.pending; row != nil {
		t.pending = nil
		return *row, nil
	}
	row, err := t.rows.next(ctx)
	switch {
	case err == nil && t.Count >= 0 && t.at >= t.Count:
		return row, changed(t.object, t.Count, "at least ", t.at+1)
	case err == nil:
		return row, nil
	case errors.Is(err, io.EOF) && t.Count >= 0 && t.at != t.Count:
		return row, changed(t.object, t.Count, "", t.at)
	}
	return row, err
}

func (t *tableSamples) append(b *batch, row tableRow) error {
	key := string(row.key)
	if len(key) > ingest.MaxName {
		return fmt.Errorf("a key of %d bytes is too long", len(key))
	}
	if key == "" {
		key = strconv.FormatInt(t.at, 10)
	}
	var label *int32
	if row.label != nil {
		if *row.label < math.MinInt32 || *row.label > math.MaxInt32 {
			return fmt.Errorf("%w: %d; write class numbers, or read the shards without labels", errLabel, *row.label)
		}
		label = new(int32(*row.label))
	}
	problem := ""
	if row.image == nil {
		problem = "the row's image is null"
	}
	b.append(t.at, key, label, row.image, problem)
	return nil
}

// close implements samples.
func (t *tableSamples) close() { t.rows.close() }

// endAfter is io.EOF, unless rows are left that were to be passed over.
func endAfter(o Object, left int64) error {
	if left > 0 {
		return fmt.Errorf("%s %w: it ends %d samples before the one to begin at; bring the shard back, or start a new run",
			o.Name(), ingest.ErrChanged, left)
	}
	return io.EOF
}

// integerKey writes a key that is a number.
func integerKey(buffer []byte, x int64) []byte { return strconv.AppendInt(buffer[:0], x, 10) }

// watched is an object that remembers its own error, which is none of the table's.
type watched struct {
	Object
	broken error
}

func (w *watched) note(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && w.broken == nil {
		w.broken = err
	}
	return err
}

// ReadAt implements io.ReaderAt.
func (w *watched) ReadAt(p []byte, offset int64) (int, error) {
	n, err := w.Object.ReadAt(p, offset)
	return n, w.note(err)
}

// From implements Object.
func (w *watched) From(ctx context.Context, offset int64) (io.ReadCloser, error) {
	body, err := w.Object.From(ctx, offset)
	if w.note(err) != nil {
		return nil, err
	}
	return watchedBody{body, w}, nil
}

type watchedBody struct {
	io.ReadCloser
	of *watched
}

// Read implements io.Reader.
func (b watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	return n, b.of.note(err)
}

// explain says of a table's error what it is about.
func (w *watched) explain(err error) error {
	if w.broken != nil {
		return w.broken
	}
	return damaged(w, err)
}
