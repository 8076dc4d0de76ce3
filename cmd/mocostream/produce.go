package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mocostream/config"
	"mocostream/sink"

	kafkago "github.com/segmentio/kafka-go"
)

type produceCommand struct {
	Data       string   `required:"" placeholder:"DIR|SHARDS" help:"Images: a folder, or shards (a file, a pattern, a folder of them)."`
	Config     string   `short:"c" placeholder:"FILE" help:"Configuration, YAML: brokers, topic and how to log in are those of its ingest.kafka."`
	Set        []string `placeholder:"KEY=VALUE" sep:"none" help:"Override a key, e.g. ingest.kafka.tls=true. May be repeated."`
	Brokers    []string `placeholder:"HOST:PORT" help:"Brokers, instead of the configuration's."`
	Topic      string   `placeholder:"NAME" help:"Topic, instead of the configuration's first."`
	Partitions int      `default:"0" help:"Create the topic with so many partitions if it does not exist; 0: it has to."`
	Labels     bool     `help:"Send labels as a header: the index of an image's top-level folder, or those of the shards."`
	Shuffle    bool     `help:"Take the files in an order drawn from the seed, another one each pass."`
	Seed       uint64   `default:"0" help:"Seed of the order."`
	Passes     int      `default:"1" help:"How often all images are sent; 0: until stopped."`
	Rate       float64  `default:"0" help:"Images a second; 0: as fast as the brokers take them."`
	MaxMessage byteSize `default:"1MiB" help:"Largest message; one above it is left out. The topic's max.message.bytes has to allow it."`
	JSON       bool     `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (produceCommand) Help() string {
	return `A message is an image: its value the encoded bytes, its key the path below the folder, or the name in the shard. Headers:
content-type and, with --labels, label. Every message is acknowledged by all in-sync replicas before the next batch is
sent; one may be there twice after a broker failed.

Example:
  mocostream produce --data photos --brokers localhost:9092 --topic images --partitions 4 --shuffle
  mocostream produce --data photos -c online.yaml --rate 100 --passes 0`
}

const (
	createTopicWait = 30 * time.Second
	// batchRoom is what a batch adds to its messages, at most.
	batchRoom = 1 << 10
	// messageRoom is what a message, or a header, takes beside its bytes, at most.
	messageRoom = 64
	// maxRoom is the largest --max-message.
	maxRoom = 1 << 30
)

// Run implements the command.
func (c produceCommand) Run(term *terminal) error {
	switch {
	case c.Passes < 0 || c.Rate < 0 || c.Partitions < 0:
		return usage("--passes, --rate and --partitions: name numbers that are not negative")
	case c.MaxMessage > maxRoom || c.MaxMessage < 2*batchRoom:
		return usage("--max-message %d: name a size from 2KiB to 1GiB", c.MaxMessage)
	}
	p, err := c.open(term)
	if err != nil {
		return err
	}
	defer p.topic.Close()
	err = p.all(term.ctx)
	if errors.Is(err, errInterrupted) && c.Passes == 0 {
		err = nil // the only way it ends
	}
	return errors.Join(err, c.report(term, p))
}

func (c produceCommand) report(term *terminal, p *producer) error {
	if c.JSON {
		return printJSON(term.out, map[string]any{"topic": p.name, "images": p.sent, "skipped": p.skipped})
	}
	_, err := fmt.Fprintf(term.out, "%d images sent to topic %s, %d left out\n", p.sent, p.name, p.skipped)
	return err
}

// open connects what the command needs.
func (c produceCommand) open(term *terminal) (*producer, error) {
	settings, err := config.Load(c.Config, c.Set)
	if err != nil {
		return nil, usageError{err}
	}
	in := settings.Ingest.Kafka
	brokers, topic := in.Brokers, c.Topic
	if len(c.Brokers) > 0 {
		brokers = c.Brokers
	}
	if topic == "" && len(in.Topics) > 0 {
		topic = in.Topics[0]
	}
	switch {
	case len(brokers) == 0:
		return nil, usage("no brokers; name them by --brokers, or by ingest.kafka.brokers in the file of -c")
	case topic == "":
		return nil, usage("no topic; name it by --topic, or by ingest.kafka.topics in the file of -c")
	}
	security := transport(in.KafkaAccess, "ingest.kafka")
	if c.Partitions > 0 {
		if err := createTopic(term.ctx, brokers, topic, c.Partitions, security); err != nil {
			return nil, err
		}
	}
	p := &producer{produceCommand: c, name: topic, labelHeader: in.LabelHeader, keyHeader: in.KeyHeader, term: term}
	p.topic, err = sink.OpenTopic(sink.TopicOptions{
		Brokers: brokers, Topic: topic, Transport: security, MaxBytes: int(c.MaxMessage) - batchRoom, Setting: "ingest.kafka",
		Warn: func(text string) { fmt.Fprintf(term.err, "mocostream: warning: %s\n", text) },
	})
	if err != nil {
		return nil, usageError{err}
	}
	return p, nil
}

// createTopic makes a topic with the brokers' default of replicas, unless it is there.
func createTopic(ctx context.Context, brokers []string, topic string, partitions int, open func() (*kafkago.Transport, error)) error {
	security, err := open()
	if err != nil {
		return usageError{err}
	}
	defer security.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, createTopicWait)
	defer cancel()
	client := &kafkago.Client{Addr: kafkago.TCP(brokers...), Transport: security}
	answer, err := client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{
		Topics: []kafkago.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: -1}},
	})
	if err == nil {
		err = answer.Errors[topic]
	}
	if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
		return fmt.Errorf("create topic %q: %w", topic, err)
	}
	return nil
}
