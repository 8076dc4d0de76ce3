package shard

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// smallChunk is up to how many bytes a column chunk is read at once, instead of as a stream.
const smallChunk = 1 << 20

// countParquet reads what the file says at its end.
func countParquet(_ context.Context, o Object) (int64, error) {
	w := &watched{Object: o}
	f, err := readFooter(w)
	if err != nil {
		return 0, w.explain(err)
	}
	return f.rows, nil
}

func openParquet(ctx context.Context, o Object, opts *Options) (samples, error) {
	w := &watched{Object: o}
	p, err := newParquetRows(ctx, w, opts)
	if err != nil {
		return nil, w.explain(err)
	}
	if opts.Count >= 0 && p.footer.rows != opts.Count {
		return nil, changed(o, opts.Count, "", p.footer.rows)
	}
	p.skip(opts.From)
	return &tableSamples{Options: opts, object: w, rows: p, at: opts.From}, nil
}

// parquetRows walks through a Parquet file, row group by row group and page by page: what it holds is one page of each
// column, and its dictionary.
type parquetRows struct {
	ctx    context.Context // of the reading as a whole
	object Object
	footer *footer
	unpack unpacker

	image *chunk
	label *chunk // nil: not wanted
	keys  []*chunk

	group int   // that comes next
	left  int64 // rows of the group under way
	first int64 // row of the next group to begin at
	text  []byte
}

func newParquetRows(ctx context.Context, o Object, opts *Options) (*parquetRows, error) {
	f, err := readFooter(o)
	if err != nil {
		return nil, err
	}
	all, err := f.columns()
	if err != nil {
		return nil, err
	}
	c, err := choose(all, opts)
	if err != nil {
		return nil, err
	}
	p := &parquetRows{ctx: ctx, object: o, footer: f}
	p.image = p.chunk(c.image, opts.MaxBatch)
	small := opts.MaxBatch / 8 // of columns that hold no images
	if c.label != nil {
		p.label = p.chunk(*c.label, small)
	}
	for _, key := range c.keys {
		p.keys = append(p.keys, p.chunk(key, small))
	}
	return p, nil
}

func (p *parquetRows) chunk(c column, limit int64) *chunk {
	size := map[int]int{physicalInt32: 4, physicalInt64: 8}[c.leaf.physical]
	return &chunk{leaf: c.leaf, size: size, pages: pages{limit: limit, unpack: &p.unpack}}
}

func (p *parquetRows) chunks() []*chunk {
	all := append([]*chunk{p.image}, p.keys...)
	if p.label != nil {
		all = append(all, p.label)
	}
	return all
}

// skip goes to a row, over whole groups where it can.
func (p *parquetRows) skip(n int64) {
	for p.group < len(p.footer.groups) && n >= p.footer.groups[p.group].rows {
		n -= p.footer.groups[p.group].rows
		p.group++
	}
	p.first = n
}

// next implements tableRows.
func (p *parquetRows) next(context.Context) (row tableRow, err error) {
	for p.left == 0 {
		if p.group == len(p.footer.groups) {
			return row, endAfter(p.object, p.first)
		}
		if err := p.open(p.footer.groups[p.group]); err != nil {
			return row, fmt.Errorf("row group %d: %w", p.group, err)
		}
		p.group++
	}
	if row, err = p.row(); err != nil {
		return row, fmt.Errorf("row group %d: %w", p.group-1, err)
	}
	p.left--
	return row, nil
}

func (p *parquetRows) row() (row tableRow, err error) {
	if row.image, err = p.image.next(); err != nil {
		return row, err
	}
	for _, key := range p.keys { // all are read, so that they keep in step
		value, err := key.next()
		if err != nil {
			return row, err
		}
		if len(row.key) > 0 {
			continue
		}
		if key.size > 0 && value != nil {
			p.text = integerKey(p.text, littleEndian(value))
			value = p.text
		}
		row.key = value
	}
	if p.label == nil {
		return row, nil
	}
	value, err := p.label.next()
	if value != nil {
		row.label = new(littleEndian(value))
	}
	return row, err
}

func littleEndian(b []byte) int64 {
	if len(b) == 4 {
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}

// open goes to the chunks of a row group.
func (p *parquetRows) open(g rowGroup) error {
	for _, c := range p.chunks() {
		if err := p.openChunk(c, g.columns[c.leaf.column]); err != nil {
			return err
		}
		c.skip(p.first)
	}
	p.left, p.first = g.rows-p.first, 0
	return nil
}

func (p *parquetRows) openChunk(c *chunk, at columnChunk) error {
	start := at.start()
	if at.elsewhere {
		return errors.New("its columns lie in other files; write them into one")
	}
	if start < 0 || at.compressed < 0 || start > p.object.Size() || at.compressed > p.object.Size()-start {
		return fmt.Errorf("%w: a column of %d bytes at byte %d of %d", errThrift, at.compressed, start, p.object.Size())
	}
	c.shut()
	c.codec = at.codec
	c.dict, c.left, c.toSkip, c.levels, c.index, c.values = nil, 0, 0, nil, nil, nil
	if at.compressed <= smallChunk {
		raw := make([]byte, at.compressed)
		if err := readAt(p.object, raw, start); err != nil {
			return err
		}
		c.from = bufio.NewReader(bytes.NewReader(raw))
		return nil
	}
	body, err := p.object.From(p.ctx, start)
	if err != nil {
		return err
	}
	c.close = body.Close
	c.from = bufio.NewReaderSize(io.LimitReader(body, at.compressed), chunkBuffer)
	return nil
}

// close implements tableRows.
func (p *parquetRows) close() {
	for _, c := range p.chunks() {
		c.shut()
	}
	p.unpack.close()
}
