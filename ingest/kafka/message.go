package kafka

import (
	"context"
	"time"

	"mocostream/ingest"

	kafkago "github.com/segmentio/kafka-go"
)

// header is one header of a record.
type header = kafkago.Header

// record is one Kafka record that a transaction has not aborted.
type record struct {
	topic     string
	Partition int32
	Offset    int64
	Time      time.Time // the record's own, from the producer or the broker; zero: none
	Key       []byte    // nil: none
	Value     []byte    // nil: a tombstone; empty is another thing
	Headers   []header
}

// header returns the value of the last header of a name, as Kafka's own clients do, and whether there is one.
func (r *record) header(name string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// Decoder turns records into samples. It is used by many goroutines at a time, each with a Builder of its own.
type Decoder interface {
	// Append adds the images of r to b and returns their number. Of row Source, Partition and Offset are given; Item,
	// Items, Key, Label and Time are Append's to set. 0 images (a tombstone, a deletion) are an offset passed. What is wrong
	// with a message itself becomes a row with a Problem; an error is for what must stop or pause the run, and leaves b as
	// it was. It blocks while it fetches objects that r points at. It keeps nothing of r, whose bytes it copies.
	Append(ctx context.Context, b *ingest.Builder, row ingest.Row, r *record) (images int32, err error)
}

// batchDecoder is a Decoder that gains from several records at once: it fetches what they point at at the same time.
type batchDecoder interface {
	Decoder
	// AppendBatch is Append of the first of records in turn, with rows beside them: as many as make about 8 MiB of images,
	// and at least one. It returns the number of images of each that it took; after an error nothing was added.
	AppendBatch(ctx context.Context, b *ingest.Builder, rows []ingest.Row, records []*record) (images []int32, err error)
}
