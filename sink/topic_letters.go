package sink

import (
	"context"
	"encoding/json"
	"fmt"

	"mocostream/ingest"
	"mocostream/loader"

	kafkago "github.com/segmentio/kafka-go"
)

// SampleKey names a sample for ever as text: source/partition/offset/item.
func SampleKey(id ingest.ID) string {
	return fmt.Sprintf("%s/%d/%d/%d", id.Source, id.Partition, id.Offset, id.Item)
}

// SendDeadLetters sends letters as JSON (see loader.DeadLetter) under their SampleKey: one that is sent again after a crash
// has the same key. A letter whose image makes it longer than a message may be goes without the image.
func (t *Topic) SendDeadLetters(ctx context.Context, letters []loader.DeadLetter) error {
	messages := make([]Message, 0, len(letters))
	for _, l := range letters {
		m, err := t.letter(l)
		if err != nil {
			return fmt.Errorf("send dead letter of %q: %w", l.Key, err)
		}
		messages = append(messages, m)
	}
	return t.Send(ctx, messages)
}

func (t *Topic) letter(l loader.DeadLetter) (Message, error) {
	m := Message{
		Key: []byte(SampleKey(l.ID)),
		Headers: []kafkago.Header{
			{Key: "content-type", Value: []byte("application/json")},
			{Key: "reason", Value: []byte(l.Reason)},
		},
	}
	var err error
	if m.Value, err = json.Marshal(l); err != nil || m.size() <= t.o.MaxBytes || l.Image == nil {
		return m, err
	}
	l.Image = nil
	m.Headers = append(m.Headers, kafkago.Header{Key: "image", Value: []byte("left out: too large")})
	m.Value, err = json.Marshal(l)
	return m, err
}
