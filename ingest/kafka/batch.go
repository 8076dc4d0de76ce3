package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
)

// A record batch, version 2 (Kafka 0.11): base offset 8, length 4, leader epoch 4, magic 1, CRC 4, attributes 2, last
// offset delta 4, first and last time 8 each, producer id 8, its epoch 2, sequence 4, number of records 4, records.
const (
	batchPrefix = 12 // bytes before what the length counts
	batchHead   = 61
	batchMagic  = 2
)

var (
	errChecksum = errors.New("checksum does not match")
	errFormat   = errors.New("not a record batch of version 2; let a broker of Kafka 0.11 or newer rewrite the topic")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batch is a record batch whose head was read, and no more than that.
type batch struct {
	base      int64
	last      int64 // offset of its last record, also where that is compacted away
	epoch     int32 // of the leader that wrote it
	crc       uint32
	attrs     protocol.Attributes
	firstTime int64 // ms since 1970
	lastTime  int64
	producer  int64
	count     int32  // records in it
	checked   []byte // what the checksum is of
	records   []byte
}

// nextBatch cuts the first batch off src. io.ErrUnexpectedEOF: src ends within it, as answers do. Any other error is a
// batch that cannot be read; its end is then the rest's start.
func nextBatch(src []byte) (b batch, rest []byte, err error) {
	if len(src) < batchPrefix {
		return b, nil, io.ErrUnexpectedEOF
	}
	size := int64(int32(binary.BigEndian.Uint32(src[8:])))
	b.base = int64(binary.BigEndian.Uint64(src))
	b.last = b.base
	if size > int64(len(src)-batchPrefix) {
		return b, nil, io.ErrUnexpectedEOF
	}
	if size < 5 || b.base < 0 {
		return b, nil, errFormat
	}
	src, rest = src[:batchPrefix+size], src[batchPrefix+size:]
	if src[16] != batchMagic || len(src) < batchHead {
		return b, rest, errFormat
	}
	b.epoch = int32(binary.BigEndian.Uint32(src[12:]))
	b.crc = binary.BigEndian.Uint32(src[17:])
	b.checked = src[21:]
	b.attrs = protocol.Attributes(binary.BigEndian.Uint16(src[21:]))
	delta := int32(binary.BigEndian.Uint32(src[23:]))
	b.last = b.base + int64(delta)
	b.firstTime = int64(binary.BigEndian.Uint64(src[27:]))
	b.lastTime = int64(binary.BigEndian.Uint64(src[35:]))
	b.producer = int64(binary.BigEndian.Uint64(src[43:]))
	b.count = int32(binary.BigEndian.Uint32(src[57:]))
	b.records = src[batchHead:]
	if delta < 0 || b.last < b.base || b.count < 0 {
		b.last = b.base
		return b, rest, errFormat
	}
	return b, rest, nil
}

// verify checks the batch against its checksum.
func (b *batch) verify() error {
	if got := crc32.Checksum(b.checked, castagnoli); got != b.crc {
		return fmt.Errorf("%w: %08x, should be %08x", errChecksum, got, b.crc)
	}
	return nil
}

// aborts says whether a control batch is the marker of an aborted transaction.
func (b *batch) aborts() (bool, error) {
	body, _, err := cutBytes(b.records)
	if err != nil {
		return false, err
	}
	var f fields
	if err := f.parse(body); err != nil {
		return false, err
	}
	if len(f.key) < 4 {
		return false, errFormat
	}
	return binary.BigEndian.Uint16(f.key[2:]) == 0, nil
}

// compressed says whether its records must be decompressed.
func (b *batch) compressed() bool { return b.attrs.Compression() != compress.None }

// timeOf returns the time of a record; the broker's own for all, if the topic has it so.
func (b *batch) timeOf(delta int64) time.Time {
	const appendTime = 1 << 3
	ms := b.firstTime + delta
	if b.attrs&appendTime != 0 {
		ms = b.lastTime
	}
	if ms < 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// fields is a record as its bytes have it.
type fields struct {
	timeDelta, offsetDelta int64
	key, value             []byte
	headers                []byte // not parsed yet, number first
}

// parse reads a record's body. Key, value and headers are parts of it.
func (f *fields) parse(body []byte) (err error) {
	if body, err = f.parseHead(body); err != nil {
		return err
	}
	if f.key, body, err = cutNullable(body); err != nil {
		return err
	}
	f.value, f.headers, err = cutNullable(body)
	return err
}

// parseHead reads what comes before the key.
func (f *fields) parseHead(body []byte) ([]byte, error) {
	if len(body) < 1 {
		return nil, io.ErrUnexpectedEOF
	}
	body = body[1:] // attributes, unused
	var n int
	if f.timeDelta, n = binary.Varint(body); n <= 0 {
		return nil, io.ErrUnexpectedEOF
	}
	body = body[n:]
	if f.offsetDelta, n = binary.Varint(body); n <= 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return body[n:], nil
}

// appendHeaders parses the headers. Their values are parts of the record's body.
func (f *fields) appendHeaders(to []header) ([]header, error) {
	src := f.headers
	count, n := binary.Varint(src)
	if n <= 0 || count < 0 || count > int64(len(src)) {
		return nil, io.ErrUnexpectedEOF
	}
	src = src[n:]
	for ; count > 0; count-- {
		key, rest, err := cutBytes(src)
		if err != nil {
			return nil, err
		}
		value, rest, err := cutNullable(rest)
		if err != nil {
			return nil, err
		}
		to = append(to, header{Key: string(key), Value: value})
		src = rest
	}
	return to, nil
}

// cutNullable cuts bytes with their length off src; a length of -1 is nil.
func cutNullable(src []byte) (field, rest []byte, err error) {
	size, n := binary.Varint(src)
	if n <= 0 || size < -1 || size > int64(len(src)-n) {
		return nil, nil, io.ErrUnexpectedEOF
	}
	if src = src[n:]; size == -1 {
		return nil, src, nil
	}
	return src[:size:size], src[size:], nil
}

// cutBytes is cutNullable for what may not be nil.
func cutBytes(src []byte) (field, rest []byte, err error) {
	field, rest, err = cutNullable(src)
	if err == nil && field == nil {
		err = io.ErrUnexpectedEOF
	}
	return field, rest, err
}
