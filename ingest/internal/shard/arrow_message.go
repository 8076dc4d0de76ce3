package shard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	arrowMagic   = "ARROW1"
	arrowFront   = 8                   // bytes before the first message of a file
	arrowTail    = 4 + len(arrowMagic) // length of the footer, and the magic
	arrowGlance  = 4 << 10             // bytes read at once at the head of a message
	maxArrowMeta = 16 << 20            // bytes of a message's description
	maxArrowRows = DefaultMaxBatch / 4 // of a batch: each takes 4 bytes
	maxTableRows = int64(1) << 40      // of a shard
	continuation = uint32(0xffff_ffff) // before the length of a message
	featherV1    = "FEA1"
)

// Kinds of messages.
const (
	arrowMessageSchema = 1
	arrowMessageBatch  = 3
)

// arrowMessages walks through the messages of an Arrow IPC file or stream.
type arrowMessages struct {
	object Object
	at     int64 // of the next
	end    int64
	whole  bool // a file, which has a footer; a stream has an end marker
	glance []byte
}

// arrowMessage is what one says of itself.
type arrowMessage struct {
	table flatTable
	body  int64 // where it begins
	size  int64 // bytes of it
}

func newArrowMessages(o Object) (*arrowMessages, error) {
	m := &arrowMessages{object: o, end: o.Size(), glance: make([]byte, arrowGlance)}
	var front [arrowFront]byte
	if o.Size() < int64(len(front)) {
		return nil, io.ErrUnexpectedEOF
	}
	if err := readAt(o, front[:], 0); err != nil {
		return nil, err
	}
	switch {
	case string(front[:len(featherV1)]) == featherV1:
		return nil, errors.New("is Feather of version 1, which is not supported; write it again as version 2")
	case string(front[:len(arrowMagic)]) == arrowMagic:
		return m, m.openFile()
	}
	return m, nil
}

// openFile goes to the first message of a file, which lie before its footer.
func (m *arrowMessages) openFile() error {
	tail := make([]byte, arrowTail)
	if m.end < int64(arrowFront+len(tail)) {
		return io.ErrUnexpectedEOF
	}
	if err := readAt(m.object, tail, m.end-int64(len(tail))); err != nil {
		return err
	}
	if string(tail[4:]) != arrowMagic {
		return fmt.Errorf("%w: its last bytes are missing", io.ErrUnexpectedEOF)
	}
	footer := int64(binary.LittleEndian.Uint32(tail))
	m.at, m.whole = arrowFront, true
	m.end -= int64(len(tail)) + footer
	if m.end < m.at {
		return errFlat
	}
	return nil
}

// next returns the next message and goes past its body; io.EOF after the last.
func (m *arrowMessages) next() (arrowMessage, error) {
	if m.whole && m.at == m.end {
		return arrowMessage{}, io.EOF
	}
	glance := m.glance[:min(int64(len(m.glance)), m.end-m.at)]
	if err := readAt(m.object, glance, m.at); err != nil {
		return arrowMessage{}, err
	}
	head, length, err := messageHead(glance)
	if err != nil {
		return arrowMessage{}, err
	}
	if length == 0 {
		return arrowMessage{}, io.EOF
	}
	if length > maxArrowMeta || length > m.end-m.at-head {
		return arrowMessage{}, fmt.Errorf("%w: its length is %d bytes", errFlat, length)
	}
	meta := glance[head:]
	if length > int64(len(meta)) {
		meta = make([]byte, length)
		if err := readAt(m.object, meta, m.at+head); err != nil {
			return arrowMessage{}, err
		}
	}
	f := &flatBuffer{b: meta[:length]}
	msg := arrowMessage{table: f.root(), body: m.at + head + length}
	msg.size = msg.table.integer(3, 8)
	if f.err != nil || msg.size < 0 || msg.size > m.end-msg.body {
		return arrowMessage{}, fmt.Errorf("%w: its body is %d bytes", errFlat, msg.size)
	}
	m.at = msg.body + msg.size
	return msg, nil
}

// messageHead returns the bytes before a message's description and its length, 0 after the last message.
func messageHead(b []byte) (head, length int64, err error) {
	if len(b) < 4 {
		return 0, 0, fmt.Errorf("%w: the end marker is missing", io.ErrUnexpectedEOF)
	}
	first := binary.LittleEndian.Uint32(b)
	if first != continuation {
		return 4, int64(first), nil // as before version 0.15
	}
	if len(b) < 8 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	return 8, int64(binary.LittleEndian.Uint32(b[4:])), nil
}

func (m arrowMessage) kind() int64 { return m.table.integer(1, 1) }

// rows is the length of a batch.
func (m arrowMessage) rows() (int64, error) {
	n := m.table.table(2).integer(0, 8)
	if m.table.f.err != nil || n < 0 || n > maxArrowRows {
		return 0, fmt.Errorf("%w: a batch of %d rows", errFlat, n)
	}
	return n, nil
}

// schema reads the first message.
func (m *arrowMessages) schema() (*arrowSchema, error) {
	msg, err := m.next()
	if err != nil {
		return nil, noEOF(err)
	}
	if msg.kind() != arrowMessageSchema {
		return nil, errors.New("does not begin with an Arrow schema")
	}
	return parseArrowSchema(msg.table)
}

// countArrow reads the descriptions of all batches.
func countArrow(ctx context.Context, o Object) (int64, error) {
	w := &watched{Object: o}
	n, err := countArrowRows(ctx, w)
	if err != nil {
		return 0, w.explain(err)
	}
	return n, nil
}

func countArrowRows(ctx context.Context, o Object) (int64, error) {
	m, err := newArrowMessages(o)
	if err != nil {
		return 0, err
	}
	if _, err := m.schema(); err != nil {
		return 0, err
	}
	var rows int64
	for ctx.Err() == nil {
		msg, err := m.next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return 0, err
		}
		if msg.kind() != arrowMessageBatch {
			continue
		}
		n, err := msg.rows()
		if err != nil {
			return 0, err
		}
		if rows += n; rows > maxTableRows {
			return 0, fmt.Errorf("%w: more than %d rows", errFlat, maxTableRows)
		}
	}
	return 0, ctx.Err()
}
