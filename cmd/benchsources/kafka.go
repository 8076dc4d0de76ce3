package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/kafka"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

type kafkaCommand struct {
	Brokers  []string `env:"MOCOSTREAM_KAFKA" required:"" help:"host:port of brokers."`
	Messages int      `default:"10000" help:"Messages of 110 kB that do not compress."`
	contest
}

const topicPartitions = 4

// Run implements the command.
func (c kafkaCommand) Run(ctx context.Context, out io.Writer) (err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.UnknownTopicRetries(-1), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer client.Close()
	topic := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	if err := makeTopic(ctx, client, topic); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dropTopic(context.WithoutCancel(ctx), client, topic)) }()
	if err := c.produce(ctx, client, topic); err != nil {
		return err
	}
	contenders := []contender{{name: "Client.Fetch and a copy", plain: true, read: func(ctx context.Context) error { return c.fetch(ctx, topic) }}}
	if path, err := exec.LookPath("kcat"); err == nil {
		contenders[0].plain = false
		contenders = append(contenders, contender{name: "kcat", plain: true, child: true, read: func(ctx context.Context) error {
			return exec.CommandContext(ctx, path, "-C", "-b", strings.Join(c.Brokers, ","), "-t", topic, "-o", "beginning", "-e", "-q", "-D", "").Run()
		}})
	}
	contenders = append(contenders, contender{name: "Reader.Next", read: func(ctx context.Context) error { return c.next(ctx, topic) }})
	_, err = c.run(ctx, out, fmt.Sprintf("kafka, %d partitions", topicPartitions), int64(c.Messages)*imageSize, contenders)
	return err
}

func makeTopic(ctx context.Context, client *kgo.Client, topic string) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, topicPartitions, 1
	req.Topics, req.TimeoutMillis = append(req.Topics, t), 10_000
	res, err := req.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("make topic: %w", err)
	}
	if code := kafkago.Error(res.Topics[0].ErrorCode); code != 0 {
		return fmt.Errorf("make topic: %w", code)
	}
	return nil
}

func dropTopic(ctx context.Context, client *kgo.Client, topic string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = &topic
	req.Topics, req.TopicNames, req.TimeoutMillis = append(req.Topics, t), []string{topic}, 10_000
	_, err := req.RequestWith(ctx, client)
	return err
}

func (c kafkaCommand) produce(ctx context.Context, client *kgo.Client, topic string) error {
	values := images(0, 256, imageSize)
	done := make(chan error, c.Messages)
	for i := range c.Messages {
		record := &kgo.Record{Topic: topic, Partition: int32(i % topicPartitions), Value: values[i%len(values)]}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) { done <- err })
	}
	for range c.Messages {
		if err := <-done; err != nil {
			return fmt.Errorf("produce: %w", err)
		}
	}
	return nil
}

// next reads the topic as training does.
func (c kafkaCommand) next(ctx context.Context, topic string) error {
	decoder, err := kafka.NewDecoder(kafka.DecoderOptions{Schema: kafka.SchemaImage})
	if err != nil {
		return err
	}
	source, err := kafka.New(kafka.Options{Brokers: c.Brokers, Topics: []string{topic}, Decoder: decoder})
	if err != nil {
		return err
	}
	r, err := source.Open(ctx, ingest.Progress{})
	if err != nil {
		return err
	}
	defer r.Close()
	for n := int64(0); n < int64(c.Messages); {
		record, err := r.Next(ctx)
		if err != nil {
			return err
		}
		n += record.NumRows()
		record.Release()
	}
	return nil
}

// fetch reads the partitions with kafka-go's client, which checks CRCs, and copies every value once.
func (c kafkaCommand) fetch(ctx context.Context, topic string) error {
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(c.Brokers...), Transport: transport}
	group, ctx := errgroup.WithContext(ctx)
	for p := range topicPartitions {
		want := (c.Messages - p + topicPartitions - 1) / topicPartitions
		group.Go(func() error { return fetchPartition(ctx, client, topic, p, want) })
	}
	return group.Wait()
}

func fetchPartition(ctx context.Context, client *kafkago.Client, topic string, partition, want int) error {
	buffer := make([]byte, imageSize)
	for next := int64(0); next < int64(want); {
		res, err := client.Fetch(ctx, &kafkago.FetchRequest{
			Topic: topic, Partition: partition, Offset: next, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second,
		})
		if err != nil {
			return err
		}
		if res.Error != nil {
			return res.Error
		}
		if next, err = copyRecords(res.Records, next, buffer); err != nil {
			return err
		}
	}
	return nil
}

// copyRecords reads the records from offset next on, and returns the offset behind them.
func copyRecords(records kafkago.RecordReader, next int64, buffer []byte) (int64, error) {
	for {
		record, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return next, nil
		}
		if err != nil {
			return next, err
		}
		if record.Offset >= next {
			if _, err := io.ReadFull(record.Value, buffer); err != nil {
				return next, err
			}
			next = record.Offset + 1
		}
		if err := record.Value.Close(); err != nil {
			return next, err
		}
	}
}
