package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	kafkago "github.com/segmentio/kafka-go"
)

// EmbeddingFormat is the form of an embedding in a topic.
type EmbeddingFormat string

// The forms.
const (
	// EmbeddingJSON is an object of id, key, label (where there is one), version and embedding, a list of numbers.
	EmbeddingJSON EmbeddingFormat = "json"
	// EmbeddingArrow is an Arrow IPC stream of one row with the columns of EmbeddingParts.
	EmbeddingArrow EmbeddingFormat = "arrow"
)

// embeddingValue is an embedding in JSON.
type embeddingValue struct {
	ID        ingest.ID `json:"id"`
	Key       string    `json:"key"`
	Label     *int32    `json:"label,omitempty"`
	Version   string    `json:"version"`
	Embedding []float32 `json:"embedding"`
}

// SendEmbeddings sends the features of images by the encoder of a version, a message each, under their EmbeddedKey: one
// that is sent again after a crash has the same key, and nothing in the value but rounding differs. Features of different
// versions cannot be compared; the header "encoder-version" tells them apart. JSON has no NaN and no infinities: features
// with such are an error there.
func (t *Topic) SendEmbeddings(ctx context.Context, format EmbeddingFormat, version string, rows []Embedded) error {
	messages := make([]Message, 0, len(rows))
	for _, r := range rows {
		value, kind, err := encodeEmbedding(format, version, r)
		if err != nil {
			return fmt.Errorf("send embedding of %s: %w", SampleKey(r.ID), err)
		}
		messages = append(messages, Message{Key: []byte(EmbeddedKey(r.ID, version)), Value: value, Headers: []kafkago.Header{
			{Key: "content-type", Value: []byte(kind)},
			{Key: "encoder-version", Value: []byte(version)},
		}})
	}
	return t.Send(ctx, messages)
}

func encodeEmbedding(format EmbeddingFormat, version string, r Embedded) (value []byte, kind string, err error) {
	if len(r.Features) == 0 {
		return nil, "", errors.New("it has no features")
	}
	switch format {
	case EmbeddingJSON:
		v := embeddingValue{ID: r.ID, Key: r.Key, Version: version, Embedding: r.Features}
		if r.Label >= 0 {
			v.Label = &r.Label
		}
		value, err = json.Marshal(v)
		return value, "application/json", err
	case EmbeddingArrow:
		value, err = arrowEmbedding(version, r)
		return value, "application/vnd.apache.arrow.stream", err
	}
	return nil, "", fmt.Errorf("format is %q; expected json or arrow", format)
}

func arrowEmbedding(version string, r Embedded) ([]byte, error) {
	schema := embeddedSchema(len(r.Features))
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	appendEmbedded(b, version, r)
	record := b.NewRecord()
	defer record.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(record), w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
