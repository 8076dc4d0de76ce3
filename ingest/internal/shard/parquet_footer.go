package shard

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	parquetMagic = "PAR1"
	// maxFooter is the longest description of a Parquet file, in bytes; files of images have thousands.
	maxFooter = 64 << 20
	// maxParts is how many columns, row groups and chunks a description may list. An empty one takes a byte.
	maxParts = 1 << 18
)

// footer is what a Parquet file says about itself, as far as it is read here. See parquet.thrift of apache/parquet-format.
type footer struct {
	elements []schemaElement // the schema's tree, each before its children
	rows     int64
	groups   []rowGroup
}

type schemaElement struct {
	name       string
	physical   int // of a leaf
	repetition int
	children   int
	text       bool // annotated as UTF-8
}

// Physical types and repetitions.
const (
	physicalInt32     = 1
	physicalInt64     = 2
	physicalByteArray = 6

	repetitionOptional = 1
	repetitionRepeated = 2
)

type rowGroup struct {
	rows    int64
	columns []columnChunk
}

type columnChunk struct {
	elsewhere  bool // in another file
	codec      codec
	compressed int64 // bytes, heads of pages included
	data, dict int64 // offsets of the first pages
}

// start is the offset of the chunk's first byte.
func (c columnChunk) start() int64 {
	if c.dict > 0 && c.dict < c.data {
		return c.dict
	}
	return c.data
}

// readFooter reads the end of a Parquet file.
func readFooter(o Object) (*footer, error) {
	var tail [8]byte
	if o.Size() < int64(len(parquetMagic)+len(tail)) {
		return nil, io.ErrUnexpectedEOF
	}
	if err := readAt(o, tail[:], o.Size()-int64(len(tail))); err != nil {
		return nil, err
	}
	if magic := string(tail[4:]); magic == "PARE" {
		return nil, errors.New("is encrypted; write it without encryption")
	} else if magic != parquetMagic {
		return nil, errors.New("does not end as a Parquet file does")
	}
	size := int64(binary.LittleEndian.Uint32(tail[:]))
	if size > o.Size()-int64(len(parquetMagic)+len(tail)) {
		return nil, fmt.Errorf("%w: its length is %d bytes", errThrift, size)
	}
	if size > maxFooter {
		return nil, fmt.Errorf("its description of %d bytes is longer than %d; write larger row groups", size, maxFooter)
	}
	raw := make([]byte, size)
	if err := readAt(o, raw, o.Size()-int64(len(tail))-size); err != nil {
		return nil, err
	}
	return parseFooter(raw)
}

// readAt fills p; less is io.ErrUnexpectedEOF.
func readAt(o Object, p []byte, offset int64) error {
	n, err := o.ReadAt(p, offset)
	if n == len(p) {
		return nil // io.EOF may come beside a full read
	}
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return noEOF(err)
}

func parseFooter(raw []byte) (*footer, error) {
	t := &thrift{from: bufio.NewReader(bytes.NewReader(raw)), left: len(raw)}
	f := &footer{}
	parts := 0
	structs := func(read func()) {
		t.structs(func() {
			if parts++; parts > maxParts {
				t.fail(fmt.Errorf("%w: it lists more than %d parts", errThrift, maxParts))
				return
			}
			read()
		})
	}
	t.fields(func(id int, kind byte) bool {
		switch {
		case id == 2 && kind == thriftList:
			structs(func() { f.elements = append(f.elements, readElement(t)) })
		case id == 3 && kind == thriftI64:
			f.rows = t.integer()
		case id == 4 && kind == thriftList:
			structs(func() { f.groups = append(f.groups, readGroup(t, structs)) })
		default:
			return false
		}
		return true
	})
	if t.err != nil {
		return nil, t.err
	}
	return f, f.check()
}

// structs reads a list of structs.
func (t *thrift) structs(read func()) {
	t.list(func(kind byte) {
		if kind != thriftStruct {
			t.fail(errThrift)
			return
		}
		read()
	})
}

func readElement(t *thrift) (e schemaElement) {
	t.fields(func(id int, kind byte) bool {
		switch {
		case id == 1 && kind == thriftI32:
			e.physical = int(t.integer())
		case id == 3 && kind == thriftI32:
			e.repetition = int(t.integer())
		case id == 4 && kind == thriftBinary:
			e.name = t.text()
		case id == 5 && kind == thriftI32:
			e.children = int(t.integer())
		case id == 6 && kind == thriftI32: // converted type: UTF8, ENUM or JSON
			converted := t.integer()
			e.text = e.text || converted == 0 || converted == 4 || converted == 19
		case id == 10 && kind == thriftStruct: // logical type: a union, its first member is STRING
			t.fields(func(member int, _ byte) bool {
				e.text = e.text || member == 1
				return false
			})
		default:
			return false
		}
		return true
	})
	return e
}

func readGroup(t *thrift, structs func(read func())) (g rowGroup) {
	t.fields(func(id int, kind byte) bool {
		switch {
		case id == 1 && kind == thriftList:
			structs(func() { g.columns = append(g.columns, readChunk(t)) })
		case id == 3 && kind == thriftI64:
			g.rows = t.integer()
		default:
			return false
		}
		return true
	})
	return g
}

func readChunk(t *thrift) (c columnChunk) {
	t.fields(func(id int, kind byte) bool {
		switch {
		case id == 1 && kind == thriftBinary:
			c.elsewhere = true
			return false
		case id == 3 && kind == thriftStruct:
			t.fields(func(id int, kind byte) bool { return readChunkField(t, &c, id, kind) })
			return true
		}
		return false
	})
	return c
}

func readChunkField(t *thrift, c *columnChunk, id int, kind byte) bool {
	switch {
	case id == 4 && kind == thriftI32:
		c.codec = codec(t.integer())
	case id == 7 && kind == thriftI64:
		c.compressed = t.integer()
	case id == 9 && kind == thriftI64:
		c.data = t.integer()
	case id == 11 && kind == thriftI64:
		c.dict = t.integer()
	default:
		return false
	}
	return true
}

// check looks at what the numbers say about each other.
func (f *footer) check() error {
	if f.rows < 0 || f.rows > maxTableRows {
		return fmt.Errorf("%w: %d rows", errThrift, f.rows)
	}
	var rows int64
	for _, g := range f.groups {
		if g.rows < 0 || g.rows > f.rows-rows {
			return fmt.Errorf("%w: %d rows in all, another number in its row groups", errThrift, f.rows)
		}
		rows += g.rows
	}
	if rows != f.rows {
		return fmt.Errorf("%w: %d rows in all, %d in its row groups", errThrift, f.rows, rows)
	}
	return nil
}

// leaf is a column of a Parquet file that has one value, or none, a row.
type leaf struct {
	column   int // index in a row group
	physical int
	maxLevel int // definition level of a value that is there
}

// columns lists the columns: path and kind of each, and the leaf behind it. Columns of lists are left out.
func (f *footer) columns() ([]column, error) {
	var all []column
	next, leaves := 0, 0
	var walk func(path []string, level, depth int, flat bool) error
	walk = func(path []string, level, depth int, flat bool) error {
		if next >= len(f.elements) || depth > thriftDepth {
			return fmt.Errorf("%w: its schema is no tree", errThrift)
		}
		e := f.elements[next]
		next++
		if depth > 0 {
			path = append(path[:len(path):len(path)], e.name)
			switch e.repetition {
			case repetitionOptional:
				level++
			case repetitionRepeated:
				level, flat = level+1, false
			}
		}
		if e.children > 0 {
			for range e.children {
				if err := walk(path, level, depth+1, flat); err != nil {
					return err
				}
			}
			return nil
		}
		if flat && depth > 0 {
			all = append(all, column{path: path, kind: e.kind(), leaf: leaf{leaves, e.physical, level}})
		}
		leaves++
		return nil
	}
	if err := walk(nil, 0, 0, true); err != nil {
		return nil, err
	}
	if next != len(f.elements) {
		return nil, fmt.Errorf("%w: its schema is no tree", errThrift)
	}
	for i, g := range f.groups {
		if len(g.columns) != leaves {
			return nil, fmt.Errorf("%w: row group %d has %d of %d columns", errThrift, i, len(g.columns), leaves)
		}
	}
	return all, nil
}

func (e schemaElement) kind() columnKind {
	switch {
	case e.physical == physicalByteArray && e.text:
		return kindText
	case e.physical == physicalByteArray:
		return kindBytes
	case e.physical == physicalInt32, e.physical == physicalInt64:
		return kindInteger
	}
	return kindOther
}

func dotted(path []string) string { return strings.Join(path, ".") }
