package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

const (
	arrowMagic     = "ARROW1"   // begins and ends an Arrow file
	arrowContinues = 0xFFFFFFFF // before the length of each message
)

// parseArrow reads the images of all batches of an Arrow IPC stream or file. Arrow's reader trusts what it reads, so that
// each message is checked before (see arrowStream), its allocations are counted, and its panics are errors here.
func (d *decoder) parseArrow(value []byte) (items []item, err error) {
	defer func() {
		if p := recover(); p != nil {
			items, err = nil, fmt.Errorf("read Arrow message: damaged: %v", p)
		}
	}()
	if bytes.HasPrefix(value, []byte(arrowMagic)) {
		if value, err = streamInFile(value); err != nil {
			return nil, err
		}
	}
	mem := &boundedMemory{Allocator: memory.NewGoAllocator(), left: d.MaxMessage}
	messages := &arrowMessages{rest: value, stream: arrowStream{maxRows: int64(d.MaxItems), left: d.MaxMessage}}
	defer messages.Release()
	r, err := ipc.NewReaderFromMessageReader(messages, ipc.WithAllocator(mem))
	if err != nil {
		return nil, messages.explain(err)
	}
	defer r.Release()
	columns, err := findColumns(r.Schema())
	if err != nil {
		return nil, fmt.Errorf("read Arrow message: %w", err)
	}
	for r.Next() {
		if items, err = d.arrowItems(items, r.Record(), columns); err != nil {
			return nil, fmt.Errorf("read Arrow message: %w", err)
		}
	}
	if r.Err() != nil || messages.err != nil {
		return nil, messages.explain(r.Err())
	}
	return items, nil
}

// streamInFile returns the part of an Arrow file that is a stream: what is between the magic, filled up to eight bytes, and
// the footer, whose length and the magic again are the end. The footer is for jumping to a batch.
func streamInFile(file []byte) ([]byte, error) {
	const start, tail = 8, 4 + len(arrowMagic)
	if len(file) < start+tail || !bytes.HasSuffix(file, []byte(arrowMagic)) {
		return nil, fmt.Errorf("read Arrow message: file is cut short: %w", io.ErrUnexpectedEOF)
	}
	footer := binary.LittleEndian.Uint32(file[len(file)-tail:])
	if int64(footer) > int64(len(file)-start-tail) {
		return nil, fmt.Errorf("read Arrow message: footer of %d bytes in a file of %d", footer, len(file))
	}
	return file[start : len(file)-tail-int(footer)], nil
}

// arrowItems appends the rows of a batch. The images stay in the batch's memory, which Go's collector frees.
func (d *decoder) arrowItems(items []item, rec arrow.Record, c columns) ([]item, error) {
	if rec.NumRows() > int64(d.MaxItems-len(items)) {
		return nil, fmt.Errorf("more than %d images", d.MaxItems)
	}
	image, path := rec.Column(c.image), arrow.Array(nil)
	if c.bytes >= 0 {
		holder := image.(*array.Struct)
		image = holder.Field(c.bytes)
		if c.path >= 0 {
			path = holder.Field(c.path)
		}
	}
	column := func(i int) arrow.Array {
		if i < 0 {
			return nil
		}
		return rec.Column(i)
	}
	for row := range int(rec.NumRows()) {
		it := item{image: binaryAt(image, row), key: textAt(column(c.key), row), time: timeAt(column(c.time), row)}
		if it.key == "" {
			it.key = textAt(path, row)
		}
		if label, ok := intAt(column(c.label), row); ok && label >= 0 && label <= math.MaxInt32 {
			l := int32(label)
			it.label = &l
		}
		if len(it.image) == 0 {
			it.problem = "the row has no image"
		}
		items = append(items, it)
	}
	return items, nil
}

// columns are the indices of what is read of a batch, -1 where there is none.
type columns struct {
	image, key, label, time int
	bytes, path             int // fields of the image, where it is a struct
}

// findColumns finds an image column by its name: binary, or Hugging Face's struct of bytes and path.
func findColumns(s *arrow.Schema) (columns, error) {
	c := columns{image: -1, key: -1, label: -1, time: -1, bytes: -1, path: -1}
	for _, name := range []string{"image", "img", "jpg", "jpeg", "png", "bytes"} {
		for _, i := range s.FieldIndices(name) {
			if c.image < 0 && c.holdsImage(s.Field(i).Type) {
				c.image = i
			}
		}
	}
	if c.image < 0 {
		return c, fmt.Errorf("no column image, img, jpg, jpeg, png or bytes of type binary or struct{bytes, path} in %v", names(s))
	}
	for i, f := range s.Fields() {
		switch {
		case f.Name == "key" && isText(f.Type), c.key < 0 && slices.Contains([]string{"__key__", "path", "id"}, f.Name) && isText(f.Type):
			c.key = i
		case f.Name == "label" && arrow.IsInteger(f.Type.ID()):
			c.label = i
		case f.Name == "time" && f.Type.ID() == arrow.TIMESTAMP:
			c.time = i
		}
	}
	return c, nil
}

func (c *columns) holdsImage(t arrow.DataType) bool {
	if isBinary(t) {
		return true
	}
	holder, ok := t.(*arrow.StructType)
	if !ok {
		return false
	}
	i, ok := holder.FieldIdx("bytes")
	if !ok || !isBinary(holder.Field(i).Type) {
		return false
	}
	c.bytes = i
	if i, ok := holder.FieldIdx("path"); ok && isText(holder.Field(i).Type) {
		c.path = i
	}
	return true
}

func names(s *arrow.Schema) []string {
	var all []string
	for _, f := range s.Fields()[:min(s.NumFields(), 20)] {
		all = append(all, f.Name)
	}
	return all
}

func isBinary(t arrow.DataType) bool {
	return t.ID() == arrow.BINARY || t.ID() == arrow.LARGE_BINARY
}

func isText(t arrow.DataType) bool {
	return t.ID() == arrow.STRING || t.ID() == arrow.LARGE_STRING
}

func binaryAt(a arrow.Array, row int) []byte {
	if a.IsNull(row) {
		return nil
	}
	switch a := a.(type) {
	case *array.Binary:
		return a.Value(row)
	case *array.LargeBinary:
		return a.Value(row)
	}
	return nil
}

func textAt(a arrow.Array, row int) string {
	if a == nil || a.IsNull(row) {
		return ""
	}
	switch a := a.(type) {
	case *array.String:
		return a.Value(row)
	case *array.LargeString:
		return a.Value(row)
	}
	return ""
}

func timeAt(a arrow.Array, row int) *arrow.Timestamp {
	t, ok := a.(*array.Timestamp)
	if !ok || t.IsNull(row) {
		return nil
	}
	return timestamp(t.Value(row).ToTime(t.DataType().(*arrow.TimestampType).Unit))
}

func intAt(a arrow.Array, row int) (int64, bool) {
	if a == nil || a.IsNull(row) {
		return 0, false
	}
	switch a := a.(type) {
	case *array.Int8:
		return int64(a.Value(row)), true
	case *array.Int16:
		return int64(a.Value(row)), true
	case *array.Int32:
		return int64(a.Value(row)), true
	case *array.Int64:
		return a.Value(row), true
	case *array.Uint8:
		return int64(a.Value(row)), true
	case *array.Uint16:
		return int64(a.Value(row)), true
	case *array.Uint32:
		return int64(a.Value(row)), true
	case *array.Uint64:
		return int64(min(a.Value(row), math.MaxInt64)), true
	}
	return 0, false
}

// errArrowMemory is what a message panics with that unfolds to more than its limit.
var errArrowMemory = errors.New("it unfolds to more bytes than a message may have")

// boundedMemory is an allocator that gives a message so many bytes in all and not one more.
type boundedMemory struct {
	memory.Allocator
	left int64
}

// Allocate implements memory.Allocator.
func (m *boundedMemory) Allocate(size int) []byte {
	m.take(size)
	return m.Allocator.Allocate(size)
}

// Reallocate implements memory.Allocator.
func (m *boundedMemory) Reallocate(size int, b []byte) []byte {
	m.take(size - min(len(b), size))
	return m.Allocator.Reallocate(size, b)
}

func (m *boundedMemory) take(size int) {
	if size < 0 || int64(size) > m.left {
		panic(errArrowMemory)
	}
	m.left -= int64(size)
}

// arrowMessages hands out the messages of a stream in memory, without a copy and after a check.
type arrowMessages struct {
	rest   []byte
	stream arrowStream
	last   *ipc.Message
	err    error // of the stream or its check, which Arrow's reader may take for something else
}

var _ ipc.MessageReader = (*arrowMessages)(nil)

// Message implements ipc.MessageReader; io.EOF after the last.
func (m *arrowMessages) Message() (*ipc.Message, error) {
	m.Release()
	meta, body, err := m.next()
	if err != nil {
		if err != io.EOF {
			m.err = err
		}
		return nil, err
	}
	m.last = ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(body))
	return m.last, nil
}

// next cuts off a message: its length, its metadata, and the body whose length that gives. A stream may end without
// saying so.
func (m *arrowMessages) next() (meta, body []byte, err error) {
	size, ok := m.number()
	if ok && size == arrowContinues {
		size, ok = m.number()
	}
	if !ok && len(m.rest) == 0 || ok && size == 0 {
		return nil, nil, io.EOF
	}
	if !ok || int64(size) > int64(len(m.rest)) {
		return nil, nil, io.ErrUnexpectedEOF
	}
	meta, m.rest = m.rest[:size], m.rest[size:]
	length, err := m.stream.check(meta, m.rest)
	if err != nil {
		return nil, nil, err
	}
	body, m.rest = m.rest[:length], m.rest[length:]
	return meta, body, nil
}

func (m *arrowMessages) number() (uint32, bool) {
	if len(m.rest) < 4 {
		return 0, false
	}
	n := binary.LittleEndian.Uint32(m.rest)
	m.rest = m.rest[4:]
	return n, true
}

// explain prefers what the stream itself says over what Arrow's reader makes of it.
func (m *arrowMessages) explain(err error) error {
	if m.err != nil {
		err = m.err
	}
	return fmt.Errorf("read Arrow message: %w", err)
}

// Retain implements ipc.MessageReader; this one has a single owner.
func (*arrowMessages) Retain() {}

// Release implements ipc.MessageReader.
func (m *arrowMessages) Release() {
	if m.last != nil {
		m.last.Release()
		m.last = nil
	}
}
