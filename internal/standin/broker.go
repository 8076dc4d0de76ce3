// Package standin runs an in-process stand-in for Apache Kafka, so that the whole path from a topic can be seen with nothing
// installed. It is franz-go's kfake: one broker, no replication. Not for data that matters.
package standin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Broker is one broker with one topic.
type Broker struct {
	cluster *kfake.Cluster
	client  *kgo.Client
	topic   string
	count   int32
}

// Message is a record to produce.
type Message struct {
	Key, Value []byte
	Headers    map[string]string
}

// StartBroker starts a broker that keeps its log in dir, so that a later one goes on with the same offsets, at the same
// port where that is free.
func StartBroker(dir, topic string, partitions int32) (*Broker, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("start stand-in broker: %w", err)
	}
	portFile := filepath.Join(dir, "port")
	options := []kfake.Opt{
		kfake.NumBrokers(1), kfake.ClusterID("mocostream-stand-in"), kfake.DataDir(filepath.Join(dir, "log")), kfake.SeedTopics(partitions, topic),
		// Before topic ids, which are random: a sample's name decides its augmentation, and two demos should be the same.
		kfake.MaxVersions(kversion.V2_7_0()),
	}
	text, _ := os.ReadFile(portFile) // none yet: any port
	port, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	cluster, err := kfake.NewCluster(append(options, kfake.Ports(port))...)
	if err != nil && port != 0 { // somebody else has it now
		cluster, err = kfake.NewCluster(options...)
	}
	if err != nil {
		return nil, fmt.Errorf("start stand-in broker: %w", err)
	}
	b := &Broker{cluster: cluster, topic: topic, count: partitions}
	_, now, _ := strings.Cut(b.Address(), ":")
	if err := os.WriteFile(portFile, []byte(now+"\n"), 0o644); err != nil {
		cluster.Close()
		return nil, fmt.Errorf("start stand-in broker: %w", err)
	}
	b.client, err = kgo.NewClient(kgo.SeedBrokers(b.Address()), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		cluster.Close()
		return nil, fmt.Errorf("start stand-in broker: %w", err)
	}
	return b, nil
}

// Address is where clients begin, host:port.
func (b *Broker) Address() string { return b.cluster.ListenAddrs()[0] }

// Produce appends messages to a partition and returns when the broker has them.
func (b *Broker) Produce(ctx context.Context, partition int32, messages []Message) error {
	records := make([]*kgo.Record, len(messages))
	for i, m := range messages {
		records[i] = &kgo.Record{Partition: partition, Key: m.Key, Value: m.Value}
		for key, value := range m.Headers {
			records[i].Headers = append(records[i].Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
		}
	}
	if err := b.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("produce to the stand-in broker: %w", err)
	}
	return nil
}

// Ends returns the number of messages in each partition.
func (b *Broker) Ends(ctx context.Context) ([]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = b.topic
	for p := range b.count {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = p, -1 // latest
		topic.Partitions = append(topic.Partitions, partition)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, b.client)
	if err != nil {
		return nil, fmt.Errorf("ask the stand-in broker for its ends: %w", err)
	}
	ends := make([]int64, b.count)
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 || int(p.Partition) >= len(ends) {
				return nil, errors.New("ask the stand-in broker for its ends: it has none")
			}
			ends[p.Partition] = p.Offset
		}
	}
	return ends, nil
}

// Close stops the broker. Its log stays.
func (b *Broker) Close() {
	b.client.Close()
	b.cluster.Close()
}
