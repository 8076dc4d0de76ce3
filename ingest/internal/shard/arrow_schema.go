package shard

import (
	"errors"
	"fmt"
)

// Types of Arrow, as Schema.fbs numbers them.
const (
	arrowNull            = 1
	arrowInt             = 2
	arrowBinary          = 4
	arrowUtf8            = 5
	arrowList            = 12
	arrowStruct          = 13
	arrowUnion           = 14
	arrowFixedSizeList   = 16
	arrowMap             = 17
	arrowLargeBinary     = 19
	arrowLargeUtf8       = 20
	arrowLargeList       = 21
	arrowRunEndEncoded   = 22
	arrowBinaryView      = 23
	arrowUtf8View        = 24
	arrowListView        = 25
	arrowLargeListView   = 26
	arrowTypes           = 27
	arrowUnionDense      = 1
	arrowVersion5        = 4
	maxArrowFields       = 4096
	maxArrowDepth        = 32
	arrowDictionaryField = 4
	arrowChildrenField   = 5
)

// node is a field of an Arrow schema.
type node struct {
	parent   *node
	children []*node
	kind     int
	bits     int // of an integer
	unsigned bool
	dense    bool // union
	indices  bool // into a dictionary

	buffer   int // index of its first in a batch
	variadic int // further buffers of a view
}

// arrowSchema is the schema of a table.
type arrowSchema struct {
	fields   []*node
	columns  []column
	nodes    int
	version  int64
	hasViews bool
}

func parseArrowSchema(message flatTable) (*arrowSchema, error) {
	s := &arrowSchema{version: message.integer(0, 2)}
	schema := message.table(2)
	if schema.integer(0, 2) != 0 {
		return nil, errors.New("its numbers are big-endian; write it on another machine")
	}
	var err error
	if s.fields, err = s.parse(schema, 1, nil, nil); err != nil {
		return nil, err
	}
	return s, message.f.err
}

// parse reads the fields that vector i of a table lists. A vector may point anywhere, so that they are counted.
func (s *arrowSchema) parse(t flatTable, i int, parent *node, path []string) ([]*node, error) {
	start, n := t.vector(i, 4)
	var all []*node
	for j := range n {
		s.nodes++
		if t.f.err != nil || s.nodes > maxArrowFields || len(path) >= maxArrowDepth {
			return nil, fmt.Errorf("%w: its schema", errFlat)
		}
		field := t.element(start, j)
		of := field.table(3)
		x := &node{parent: parent, kind: int(field.integer(2, 1)), indices: field.table(arrowDictionaryField).exists()}
		x.bits, x.unsigned = int(of.integer(0, 4)), x.kind == arrowInt && of.integer(1, 1) == 0
		x.dense = x.kind == arrowUnion && of.integer(0, 2) == arrowUnionDense
		if x.kind <= 0 || x.kind >= arrowTypes {
			return nil, fmt.Errorf("type %d of column %.60q is not known", x.kind, field.text(0))
		}
		below := append(path[:len(path):len(path)], field.text(0))
		if !x.indices { // the children are the dictionary's otherwise
			var err error
			if x.children, err = s.parse(field, arrowChildrenField, x, below); err != nil {
				return nil, err
			}
		}
		if x.plain() && (len(x.children) == 0 || x.kind != arrowStruct) {
			s.columns = append(s.columns, column{path: below, kind: x.columnKind(), node: x})
		}
		s.hasViews = s.hasViews || x.view()
		all = append(all, x)
	}
	return all, nil
}

// plain says whether the field has one value a row: all above it are structs.
func (x *node) plain() bool {
	for p := x.parent; p != nil; p = p.parent {
		if p.kind != arrowStruct || p.indices {
			return false
		}
	}
	return true
}

func (x *node) view() bool {
	return !x.indices && (x.kind == arrowBinaryView || x.kind == arrowUtf8View)
}

func (x *node) columnKind() columnKind {
	if x.indices {
		return kindOther
	}
	switch x.kind {
	case arrowBinary, arrowLargeBinary, arrowBinaryView:
		return kindBytes
	case arrowUtf8, arrowLargeUtf8, arrowUtf8View:
		return kindText
	case arrowInt:
		if x.bits == 8 || x.bits == 16 || x.bits == 32 || x.bits == 64 {
			return kindInteger
		}
	}
	return kindOther
}

// place numbers the buffers of a batch; variadic are the numbers of further ones that its views have.
func (s *arrowSchema) place(variadic []int) (buffers int, err error) {
	var walk func(fields []*node)
	walk = func(fields []*node) {
		for _, x := range fields {
			x.buffer, x.variadic = buffers, 0
			buffers += x.buffers(s.version)
			if x.view() {
				if len(variadic) == 0 {
					err = errFlat
					return
				}
				x.variadic, variadic = variadic[0], variadic[1:]
				buffers += x.variadic
			}
			walk(x.children)
		}
	}
	walk(s.fields)
	return buffers, err
}

// buffers is how many the field itself has in a batch. See "Buffer listing for each layout" of Arrow's columnar format.
func (x *node) buffers(version int64) int {
	if x.indices {
		return 2
	}
	switch x.kind {
	case arrowNull, arrowRunEndEncoded:
		return 0
	case arrowStruct, arrowFixedSizeList:
		return 1
	case arrowBinary, arrowUtf8, arrowLargeBinary, arrowLargeUtf8, arrowListView, arrowLargeListView:
		return 3
	case arrowUnion:
		n := 1
		if x.dense {
			n++
		}
		if version < arrowVersion5 {
			n++
		}
		return n
	}
	return 2 // validity and values, or offsets; and of views what is not in further ones
}
