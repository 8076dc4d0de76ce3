package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mocostream/config"
	"mocostream/ingest"
	"mocostream/ingest/kafka"
	"mocostream/ingest/s3"
	"mocostream/internal/objects"
	"mocostream/train"

	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/zap"
)

// kafkaKey is where a checkpoint keeps how the partitions' last messages are known again.
const kafkaKey = "kafka"

// openFeed opens the source without an end that the configuration names.
func openFeed(ctx context.Context, c *config.Config, log *zap.Logger, from *train.Checkpoint) (feed, error) {
	if c.Ingest.Stream() == config.SourceS3 {
		f, err := openFollow(ctx, c, log, from)
		if err != nil {
			return nil, err // no feed at all, rather than one that is nil
		}
		return f, nil
	}
	t, err := openTopics(ctx, c, log, from)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// topics is Kafka as a feed.
type topics struct {
	*kafka.Source
	committer *kafka.Committer // nil: no offsets are committed
	group     string
	log       *zap.Logger
	committed func(error) // told of every commit; nil: nobody
}

func openTopics(ctx context.Context, c *config.Config, log *zap.Logger, from *train.Checkpoint) (*topics, error) {
	in := c.Ingest.Kafka
	decoder, err := openDecoder(ctx, c, log)
	if err != nil {
		return nil, err
	}
	o := kafka.Options{
		Brokers: in.Brokers, Topics: in.Topics, Pattern: in.TopicPattern, Transport: transport(in.KafkaAccess, "ingest.kafka"), Decoder: decoder,
		OnDataLoss: kafka.LossPolicy(in.OnDataLoss), Merge: kafka.MergeOrder(in.Merge), MergeTimeout: in.MergeTimeout,
		Overload: kafka.Overload{Mode: kafka.OverloadMode(in.Overload), MaxLag: in.OverloadLag, Keep: in.OverloadShare, JumpTo: in.OverloadJump},
		MaxBytes: int(in.MaxMessageBytes), MemoryLimit: c.Loader.MemoryLimit / 2, FetchBytes: int(in.FetchBytes),
		MetadataEvery: in.MetadataEvery, Timeout: in.Timeout, Warn: warner(log),
	}
	o.Share.Index, o.Share.Of, _ = config.Share(in.Partitions) // checked with the configuration, as the start is
	o.Start = startOf(in)
	if from != nil {
		o.State = from.Extra[kafkaKey]
	}
	t := &topics{group: in.Group, log: log}
	if t.Source, err = kafka.New(o); err != nil {
		return nil, usageError{err}
	}
	log.Info("source", zap.Strings("topics", in.Topics), zap.String("topic_pattern", in.TopicPattern), zap.Strings("brokers", in.Brokers))
	if in.Group != "" {
		t.committer, err = kafka.NewCommitter(kafka.CommitOptions{Brokers: in.Brokers, Transport: o.Transport, Timeout: commitTimeout})
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// transport makes the connections' settings.
func transport(a config.KafkaAccess, setting string) func() (*kafkago.Transport, error) {
	security := kafka.Security{
		TLS: a.TLS, CAFile: a.CAFile, CertFile: a.CertFile, KeyFile: a.KeyFile, ServerName: a.ServerName,
		SASL: a.SASL, Username: a.Username, Password: kafka.NewSecret(a.Password), Region: a.AWSRegion,
		AllowPlaintext: a.AllowPlaintext, Setting: setting,
	}
	if security.SASL == "none" {
		security.SASL = ""
	}
	return func() (*kafkago.Transport, error) { return kafka.NewTransport(security) }
}

func startOf(in config.KafkaSource) kafka.Start {
	s := kafka.Start{At: kafka.StartAt(in.Start)}
	if s.At == kafka.StartTime {
		s.Time, _ = time.Parse(time.RFC3339, in.StartTime)
	}
	for _, text := range in.StartOffsets {
		topic, partition, offset, _ := config.StartOffset(text)
		if s.Offsets == nil {
			s.Offsets = map[string]map[int32]int64{}
		}
		if s.Offsets[topic] == nil {
			s.Offsets[topic] = map[int32]int64{}
		}
		s.Offsets[topic][partition] = offset
	}
	return s
}

func openDecoder(ctx context.Context, c *config.Config, log *zap.Logger) (kafka.Decoder, error) {
	in := c.Ingest.Kafka
	o := kafka.DecoderOptions{
		Schema: kafka.Schema(in.Schema), Field: in.ImagesField, MaxImage: c.Loader.Limits.MaxBytes, MaxMessage: in.MaxMessageBytes,
		KeyHeader: in.KeyHeader, LabelHeader: in.LabelHeader, TimeHeader: in.TimeHeader, Warn: warner(log),
		Deletions: c.Loader.Replay.On(),
	}
	if len(in.Objects.Allow) > 0 {
		client, err := openClient(ctx, c.Ingest.S3.S3Access, log)
		if err != nil {
			return nil, err
		}
		fetcher, err := s3.NewFetcher(s3.FetcherOptions{
			Client: client, Allow: in.Objects.Allow, MaxBytes: c.Loader.Limits.MaxBytes, PartSize: c.Ingest.S3.PartSize,
			Parallel: c.Ingest.S3.Parallel, PauseLimit: c.Ingest.S3.PauseLimit, Warn: warner(log),
		})
		if err != nil {
			return nil, usageError{err}
		}
		o.Objects = pointedAt{fetcher}
	}
	d, err := kafka.NewDecoder(o)
	if err != nil {
		return nil, usageError{err}
	}
	return d, nil
}

// pointedAt fetches what messages point at.
type pointedAt struct{ *s3.Fetcher }

// Fetch implements kafka.Objects.
func (p pointedAt) Fetch(ctx context.Context, ref kafka.ObjectRef) ([]byte, error) {
	image, err := p.Fetcher.Fetch(ctx, ref.Bucket, ref.Key, ref.Version, ref.ETag, max(ref.Size, 0))
	return image, pointing(err)
}

// pointing gives an error of the bucket's side the name that the topic's side knows.
func pointing(err error) error {
	switch {
	case errors.Is(err, s3.ErrNotAllowed):
		return fmt.Errorf("%w (%w)", kafka.ErrNotAllowed, err)
	case errors.Is(err, ingest.ErrChanged):
		return fmt.Errorf("%w (%w)", objects.ErrChanged, err)
	}
	return err
}

// seal implements feed.
func (t *topics) seal(c *train.Checkpoint) error {
	state, err := t.Seal(c.Token.Progress)
	if err != nil {
		return err
	}
	c.Extra[kafkaKey] = state
	return nil
}

// saved implements feed: offsets are for lag tools, so that a failure is a warning.
func (t *topics) saved(ctx context.Context, name string, done ingest.Progress) {
	if t.committer == nil {
		return
	}
	err := t.committer.Commit(ctx, t.group, done, "checkpoint="+name)
	if t.committed != nil {
		t.committed(err)
	}
	if err != nil {
		t.log.Warn("offsets are not committed; lag tools see old ones, the run does not need them", zap.Error(err))
	}
}

const commitTimeout = 10 * time.Second

// Close implements feed.
func (t *topics) Close() error {
	if t.committer != nil {
		t.committer.Close()
	}
	return nil
}
