package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"mocostream/loader"
	"mocostream/sink"

	"go.uber.org/zap"
)

const (
	unsentKey = "unsent_dead_letters" // of a checkpoint
	deadTry   = 5 * time.Second       // longest that a checkpoint waits for the topic of dead letters
	deadPause = time.Minute           // after a try that failed
	// maxUnsent is how many dead letters wait for their topic; with more the run ends rather than lose one.
	maxUnsent = 10_000
)

// openTopic opens a topic to write to.
func (s *session) openTopic(topic, setting string) (*sink.Topic, error) {
	access, section := s.config.Sink.Kafka, "sink.kafka"
	if len(access.Brokers) == 0 {
		access, section = s.config.Ingest.Kafka.KafkaAccess, "ingest.kafka"
	}
	t, err := sink.OpenTopic(sink.TopicOptions{
		Brokers: access.Brokers, Topic: topic, Transport: transport(access, section), Setting: section, Warn: warner(s.log),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	s.onClose(func() error { t.Close(); return nil })
	return t, nil
}

// deadTopic sends dead letters to a topic, at least once: those that are not sent when a checkpoint is made are in it.
type deadTopic struct {
	topic  *sink.Topic
	unsent []loader.DeadLetter
	after  time.Time // no try before, since training waits for it
	log    *zap.Logger
}

func (s *session) openDeadTopic(context.Context) (err error) {
	if s.config.Sink.DeadTopic == "" {
		return nil
	}
	d := &deadTopic{log: s.log}
	if d.topic, err = s.openTopic(s.config.Sink.DeadTopic, "sink.dead_topic"); err != nil {
		return err
	}
	if s.from != nil && s.from.Extra[unsentKey] != nil {
		if err := json.Unmarshal(s.from.Extra[unsentKey], &d.unsent); err != nil {
			return fmt.Errorf("%s of the checkpoint: %w", unsentKey, err)
		}
	}
	s.deadTopic = d
	return nil
}

// add queues letters for the next checkpoint. The topic gets descriptions; the images are in the run folder.
func (d *deadTopic) add(letters []loader.DeadLetter) error {
	if d == nil {
		return nil
	}
	for _, l := range letters {
		l.Image = nil
		d.unsent = append(d.unsent, l)
	}
	if len(d.unsent) > maxUnsent {
		return fmt.Errorf("%d dead letters wait for the topic of sink.dead_topic; bring its brokers back, or unset it", len(d.unsent))
	}
	return nil
}

// seal sends what waits, and puts what cannot be sent into the checkpoint.
func (d *deadTopic) seal(ctx context.Context, extra map[string]json.RawMessage) (err error) {
	if d == nil {
		return nil
	}
	if len(d.unsent) > 0 && time.Now().After(d.after) {
		d.send(ctx)
	}
	if len(d.unsent) > 0 {
		extra[unsentKey], err = json.Marshal(d.unsent)
	}
	return err
}

// send sends what waits, or says that it waits on.
func (d *deadTopic) send(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, deadTry)
	defer cancel()
	if err := d.topic.SendDeadLetters(ctx, d.unsent); err != nil {
		d.after = time.Now().Add(deadPause)
		d.log.Warn("dead letters are not sent to their topic; a later checkpoint tries again", zap.Error(err), zap.Int("unsent", len(d.unsent)))
		return
	}
	d.unsent = nil
}

// openEmbeddingTopic is where features go.
func (s *session) openEmbeddingTopic() (func(ctx context.Context, version string, rows []sink.Embedded) error, error) {
	t, err := s.openTopic(s.config.Sink.Embeddings.Topic, "sink.embeddings.topic")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, version string, rows []sink.Embedded) error {
		return t.SendEmbeddings(ctx, sink.EmbeddingJSON, version, rows)
	}, nil
}
