package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/klauspost/compress/zstd"
)

// Limits of an Arrow message's description.
const (
	maxArrowMeta   = 1 << 20 // bytes
	maxArrowFields = 1 << 10 // with those inside others
	maxArrowDepth  = 8
	maxZstdWindow  = 8 << 20 // what the zstd format asks every reader to support
)

// Slots of the flatbuffers tables in Arrow's Message.fbs and Schema.fbs that are looked at, as vtable offsets.
const (
	messageKind, messageHeader, messageBody          = 6, 8, 10
	schemaFields, schemaMeta                         = 6, 8
	fieldName, fieldKind, fieldDict                  = 4, 8, 12
	fieldChildren, fieldMeta                         = 14, 16
	batchRows, batchNodes, batchBuffers, batchPacked = 4, 6, 8, 10
	packedCodec                                      = 4
)

// Kinds of message, and codecs.
const (
	kindSchema, kindBatch = 1, 3
	codecLZ4, codecZstd   = 0, 1
)

// arrowStream is what the schema says about the batches after it, and what they may still unfold to. Arrow's reader takes
// lengths, counts and sizes as they stand in a message: without a check a few bytes make it ask for hundreds of gigabytes,
// or go round in circles, which is no panic that one could recover from. A check may panic on damage.
type arrowStream struct {
	nodes, buffers int // of a batch
	maxRows        int64
	left           int64 // bytes
	seen           bool  // the schema
}

// check judges a message's description and returns the length of the body that follows in rest.
func (a *arrowStream) check(meta, rest []byte) (body int64, err error) {
	if len(meta) > maxArrowMeta {
		return 0, fmt.Errorf("description of %d bytes", len(meta))
	}
	message := table{flatbuffers.Table{Bytes: meta, Pos: flatbuffers.GetUOffsetT(meta)}}
	header, ok := message.child(messageHeader)
	if body = message.int64(messageBody); !ok || body < 0 || body > int64(len(rest)) {
		return 0, fmt.Errorf("body of %d bytes, but %d follow", body, len(rest))
	}
	switch kind := message.byte(messageKind); {
	case kind == kindSchema && !a.seen:
		a.seen = true
		return body, a.schema(header)
	case kind == kindBatch && a.seen:
		return body, a.batch(header, rest[:body])
	default:
		return 0, fmt.Errorf("message of kind %d, expected one schema and then batches (no dictionaries)", kind)
	}
}

func (a *arrowStream) schema(s table) error {
	if _, err := s.vector(schemaMeta, 4); err != nil {
		return err
	}
	return a.fields(s, schemaFields, 0)
}

// fields counts what the fields in a slot need, and refuses types that images do not come with.
func (a *arrowStream) fields(of table, slot flatbuffers.VOffsetT, depth int) error {
	list, err := of.vector(slot, 4)
	if err != nil {
		return err
	}
	if depth > maxArrowDepth || a.nodes+list.n > maxArrowFields {
		return fmt.Errorf("more than %d columns, or nested deeper than %d", maxArrowFields, maxArrowDepth)
	}
	for i := range list.n {
		f := list.table(i)
		if _, err := f.vector(fieldMeta, 4); err != nil {
			return err
		}
		buffers, known := arrowBuffers[f.byte(fieldKind)]
		if _, dict := f.child(fieldDict); dict || !known {
			return fmt.Errorf("column %q has a type or a dictionary that is not supported; send plain values", clip(f.string(fieldName)))
		}
		a.nodes++
		a.buffers += buffers
		if err := a.fields(f, fieldChildren, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// arrowBuffers has the number of buffers of a column by its type in Schema.fbs, without those of columns inside it.
// Dictionaries, unions, maps, views and run-ends are left out.
var arrowBuffers = map[byte]int{
	1: 0,                                                    // null
	2: 2, 3: 2, 6: 2, 7: 2, 8: 2, 9: 2, 10: 2, 11: 2, 18: 2, // numbers, times
	4: 3, 5: 3, 19: 3, 20: 3, // binary, utf8, and the large ones
	12: 2, 21: 2, // lists
	13: 1, 16: 1, // struct, list of fixed size
	15: 2, // binary of fixed size
}

// batch checks that columns lie inside the body, and what they unfold to.
func (a *arrowStream) batch(b table, body []byte) error {
	if rows := b.int64(batchRows); rows < 0 || rows > a.maxRows {
		return fmt.Errorf("%d rows in a batch, more than %d", rows, a.maxRows)
	}
	nodes, err := b.vector(batchNodes, 16)
	if err != nil {
		return err
	}
	buffers, err := b.vector(batchBuffers, 16)
	if err != nil {
		return err
	}
	// Arrow's reader does not look at the vectors' lengths.
	if nodes.n < a.nodes || buffers.n < a.buffers {
		return fmt.Errorf("%d columns with %d buffers, the schema has %d with %d", nodes.n, buffers.n, a.nodes, a.buffers)
	}
	for i := range nodes.n {
		if rows, nulls := nodes.pair(i); rows < 0 || rows > math.MaxInt32 || nulls < 0 || nulls > rows {
			return fmt.Errorf("column of %d rows, %d of them null", rows, nulls)
		}
	}
	packed, compressed := b.child(batchPacked)
	for i := range buffers.n {
		start, length := buffers.pair(i)
		if start < 0 || length < 0 || start > int64(len(body)) || length > int64(len(body))-start {
			return fmt.Errorf("buffer at %d of %d bytes in a body of %d", start, length, len(body))
		}
		if compressed {
			length, err = unfolds(packed.byte(packedCodec), body[start:start+length])
		}
		if err != nil {
			return err
		}
		if a.left -= length; a.left < 0 {
			return errArrowMemory
		}
	}
	return nil
}

// unfolds returns the length of a compressed buffer when it is not: its first eight bytes say it, -1 for one that is
// stored as it is.
func unfolds(codec byte, buffer []byte) (int64, error) {
	if len(buffer) == 0 {
		return 0, nil
	}
	if len(buffer) < 8 || codec != codecLZ4 && codec != codecZstd {
		return 0, errors.New("damaged compressed buffer")
	}
	size := int64(binary.LittleEndian.Uint64(buffer))
	if size == -1 {
		return int64(len(buffer) - 8), nil
	}
	if size < 0 {
		return 0, fmt.Errorf("compressed buffer of %d bytes", size)
	}
	if codec == codecZstd {
		return size, checkZstd(buffer[8:], max(maxZstdWindow, uint64(size)))
	}
	return size, nil
}

// checkZstd refuses what would make a reader allocate much before it has read anything: a large window, in the first frame
// or, where no one looks, in one after it.
func checkZstd(data []byte, window uint64) error {
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		return fmt.Errorf("compressed buffer: %w", err)
	}
	if h.Skippable || max(h.WindowSize, h.FrameContentSize) > window {
		return fmt.Errorf("compressed buffer with a window of %d bytes", max(h.WindowSize, h.FrameContentSize))
	}
	for rest, last := data[h.HeaderSize:], false; !last; {
		if len(rest) < 3 {
			return io.ErrUnexpectedEOF
		}
		block := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
		last = block&1 != 0
		size := block >> 3
		if block>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		if last && h.HasCheckSum {
			size += 4
		}
		if size > len(rest)-3 {
			return io.ErrUnexpectedEOF
		}
		rest = rest[3+size:]
		if last && len(rest) >= 4 {
			return errors.New("compressed buffer of more than one frame")
		}
	}
	return nil
}

// table is a flatbuffers table whose vectors are checked.
type table struct{ flatbuffers.Table }

func (t *table) byte(slot flatbuffers.VOffsetT) byte   { return t.GetByteSlot(slot, 0) }
func (t *table) int64(slot flatbuffers.VOffsetT) int64 { return t.GetInt64Slot(slot, 0) }
func (t *table) child(slot flatbuffers.VOffsetT) (table, bool) {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return table{}, false
	}
	return table{flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(o + t.Pos)}}, true
}

func (t *table) string(slot flatbuffers.VOffsetT) string {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return ""
	}
	return string(t.ByteVector(o + t.Pos))
}

// vector is n elements, all of them inside the message.
type vector struct {
	bytes []byte
	at    flatbuffers.UOffsetT
	n     int
}

// vector returns the vector in a slot with elements of size bytes; none is empty.
func (t *table) vector(slot flatbuffers.VOffsetT, size int) (vector, error) {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return vector{}, nil
	}
	v := vector{bytes: t.Bytes, at: t.Vector(o), n: t.VectorLen(o)}
	if v.n < 0 || int64(v.at)+int64(v.n)*int64(size) > int64(len(t.Bytes)) {
		return vector{}, fmt.Errorf("list of %d elements in a description of %d bytes", v.n, len(t.Bytes))
	}
	return v, nil
}

// table returns an element that is an offset.
func (v *vector) table(i int) table {
	at := v.at + flatbuffers.UOffsetT(4*i)
	return table{flatbuffers.Table{Bytes: v.bytes, Pos: at + flatbuffers.GetUOffsetT(v.bytes[at:])}}
}

// pair returns an element that is two int64.
func (v *vector) pair(i int) (first, second int64) {
	at := v.at + flatbuffers.UOffsetT(16*i)
	return flatbuffers.GetInt64(v.bytes[at:]), flatbuffers.GetInt64(v.bytes[at+8:])
}
