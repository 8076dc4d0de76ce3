package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// makeBatch writes a batch with values at the deltas given.
func makeBatch(t testing.TB, base int64, last int32, codec compress.Compression, values map[int]string) []byte {
	var body []byte
	count := 0
	for delta := range int(last) + 1 {
		value, ok := values[delta]
		if !ok {
			continue
		}
		count++
		record := makeRecord(delta, value)
		body = append(binary.AppendVarint(body, int64(len(record))), record...)
	}
	if codec != compress.None {
		var packed bytes.Buffer
		w := codec.Codec().NewWriter(&packed)
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		body = packed.Bytes()
	}
	return sealBatch(base, last, codec, count, body)
}

// makeRecord writes a record without its length.
func makeRecord(delta int, value string) []byte {
	record := []byte{0}
	record = binary.AppendVarint(record, int64(10*delta))
	record = binary.AppendVarint(record, int64(delta))
	record = binary.AppendVarint(record, -1)
	record = append(binary.AppendVarint(record, int64(len(value))), value...)
	record = binary.AppendVarint(record, 1)
	record = append(binary.AppendVarint(record, 1), 'h')
	return append(binary.AppendVarint(record, 2), "v1"...)
}

// sealBatch puts a head before the records of a batch.
func sealBatch(base int64, last int32, codec compress.Compression, count int, body []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(base))
	b = binary.BigEndian.AppendUint32(b, uint32(batchHead-batchPrefix+len(body)))
	b = binary.BigEndian.AppendUint32(b, 7) // leader epoch
	b = append(b, batchMagic)
	b = binary.BigEndian.AppendUint32(b, 0) // checksum, below
	b = binary.BigEndian.AppendUint16(b, uint16(codec))
	b = binary.BigEndian.AppendUint32(b, uint32(last))
	b = binary.BigEndian.AppendUint64(b, 1000)
	b = binary.BigEndian.AppendUint64(b, 2000)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(count))
	b = append(b, body...)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

func TestBatch(t *testing.T) {
	for codec := compress.None; codec <= compress.Zstd; codec++ {
		src := makeBatch(t, 100, 9, codec, map[int]string{2: "two", 5: "five is larger", 7: ""})
		b, rest, err := nextBatch(append(src, 1, 2, 3))
		if err != nil || len(rest) != 3 || b.base != 100 || b.last != 109 || b.epoch != 7 || b.verify() != nil {
			t.Fatalf("%v: %+v, %v", codec, b, err)
		}
		var r records
		if err := r.open(&b, 13); err != nil {
			t.Fatal(err)
		}
		type found struct {
			offset int64
			value  string
			large  bool
		}
		var got []found
		for {
			err := r.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, found{r.offset, string(r.value), r.large})
			if r.large {
				continue
			}
			headers, err := r.appendHeaders(nil)
			if err != nil || len(headers) != 1 || headers[0].Key != "h" || string(headers[0].Value) != "v1" {
				t.Errorf("headers are %v, %v", headers, err)
			}
		}
		r.shut()
		want := []found{{102, "", true}, {105, "", true}, {107, "", true}}
		if len(got) != 3 || got[1] != want[1] || got[0].offset != 102 || got[2].offset != 107 {
			t.Errorf("%v: got %+v", codec, got)
		}
	}
}

func TestBatchDamaged(t *testing.T) {
	good := makeBatch(t, 0, 1, compress.None, map[int]string{0: "a", 1: "b"})
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		b, _, err := nextBatch(bad)
		if err == nil {
			err = b.verify()
		}
		if err == nil && i >= batchPrefix+4 { // base, length and leader epoch are not in the checksum
			t.Errorf("a flipped bit in byte %d is not seen", i)
		}
	}
}

// FuzzBatch walks through whatever comes as far as it can be read, as a fetch loop does.
func FuzzBatch(f *testing.F) {
	for codec := compress.None; codec <= compress.Zstd; codec++ {
		f.Add(makeBatch(f, 5, 3, codec, map[int]string{0: "zero", 3: "three"}))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, src []byte) {
		for len(src) > 0 {
			b, rest, err := nextBatch(src)
			if err != nil {
				return
			}
			if len(rest) >= len(src) || b.last < b.base {
				t.Fatalf("no step forward: %d of %d bytes left", len(rest), len(src))
			}
			src = rest
			b.aborts()
			b.attrs &= 7 | protocol.Control
			var r records
			if r.open(&b, 1<<16) != nil {
				return
			}
			for before := int64(-1); r.next() == nil; before = r.offset {
				if r.offset < b.base || r.offset > b.last || len(r.value) > 1<<16 {
					t.Fatalf("offset %d after %d, %d bytes", r.offset, before, len(r.value))
				}
				r.appendHeaders(nil)
			}
			r.shut()
		}
	})
}

// FuzzAnswer parses answers to a fetch.
func FuzzAnswer(f *testing.F) {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(13)
	p, topic := kmsg.NewFetchRequestTopicPartition(), kmsg.NewFetchRequestTopic()
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	f.Add(append([]byte{0}, fetchAnswer(req, []byte("batches"), 3).AppendTo(nil)...))
	f.Add([]byte{1, 0, 200, 200, 3})
	f.Fuzz(func(t *testing.T, answer []byte) {
		got := &frame{buf: answer}
		if got.parse(req) == nil && len(got.RecordBatches) > len(answer) {
			t.Error("more batches than bytes")
		}
	})
}
