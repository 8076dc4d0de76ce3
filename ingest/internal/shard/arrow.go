package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
)

func openArrow(_ context.Context, o Object, opts *Options) (samples, error) {
	w := &watched{Object: o}
	rows, err := newArrowRows(w, opts)
	if err != nil {
		return nil, w.explain(err)
	}
	return &tableSamples{Options: opts, object: w, rows: rows, at: opts.From}, nil
}

// arrowRows walks through an Arrow IPC file or stream, batch by batch: it holds one, of the columns that are wanted.
// Dictionaries are passed over, since no wanted column has one.
type arrowRows struct {
	messages *arrowMessages
	reader   batchReader
	wanted   []*node
	labelled bool // the second of wanted is the label; keys follow

	number  int // of the batch, for messages
	toSkip  int64
	columns []arrowColumn
	rows    int // of the batch
	at      int // row of it that comes next
	text    []byte
}

func newArrowRows(o Object, opts *Options) (*arrowRows, error) {
	m, err := newArrowMessages(o)
	if err != nil {
		return nil, err
	}
	schema, err := m.schema()
	if err != nil {
		return nil, err
	}
	c, err := choose(schema.columns, opts)
	if err != nil {
		return nil, err
	}
	a := &arrowRows{
		messages: m, reader: batchReader{object: o, schema: schema, limit: opts.MaxBatch},
		wanted: []*node{c.image.node}, labelled: c.label != nil, number: -1, toSkip: opts.From,
	}
	if c.label != nil {
		a.wanted = append(a.wanted, c.label.node)
	}
	for _, key := range c.keys {
		a.wanted = append(a.wanted, key.node)
	}
	return a, nil
}

// next implements tableRows.
func (a *arrowRows) next(ctx context.Context) (row tableRow, err error) {
	for a.at == a.rows {
		if err := ctx.Err(); err != nil {
			return row, err
		}
		if err := a.open(); errors.Is(err, io.EOF) {
			return row, endAfter(a.messages.object, a.toSkip)
		} else if err != nil {
			return row, fmt.Errorf("batch %d: %w", a.number, err)
		}
	}
	if row, err = a.row(a.at); err != nil {
		return row, fmt.Errorf("batch %d: %w", a.number, err)
	}
	a.at++
	return row, nil
}

// open goes to the next message, and reads it if it is a batch that is not skipped.
func (a *arrowRows) open() error {
	msg, err := a.messages.next()
	if err != nil || msg.kind() != arrowMessageBatch {
		return err
	}
	a.number++
	n, err := msg.rows()
	if err != nil {
		return err
	}
	if n <= a.toSkip {
		a.toSkip -= n
		return nil
	}
	if a.columns, err = a.reader.columns(msg, a.wanted); err != nil {
		return noEOF(err)
	}
	a.rows, a.at, a.toSkip = int(n), int(a.toSkip), 0
	return nil
}

func (a *arrowRows) row(i int) (row tableRow, err error) {
	if row.image, err = a.columns[0].valueAt(i); err != nil {
		return row, err
	}
	keys := a.columns[1:]
	if a.labelled {
		if row.label, err = keys[0].integerAt(i); err != nil {
			return row, err
		}
		keys = keys[1:]
	}
	for k := range keys {
		if row.key, err = a.key(&keys[k], i); err != nil || len(row.key) > 0 {
			return row, err
		}
	}
	return row, nil
}

func (a *arrowRows) key(c *arrowColumn, i int) ([]byte, error) {
	if c.node.kind != arrowInt {
		return c.valueAt(i)
	}
	x, err := c.integerAt(i)
	if x == nil || err != nil {
		return nil, err
	}
	a.text = integerKey(a.text, *x)
	return a.text, nil
}

// close implements tableRows.
func (a *arrowRows) close() { a.reader.unpack.close() }
