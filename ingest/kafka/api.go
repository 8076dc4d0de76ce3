package kafka

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// noID stands for the topic id in a source where the brokers are too old (before 2.8) to give topics ids.
const noID = "-"

// errTooOld says that the brokers do not know a request in a version that we need.
var errTooOld = errors.New("brokers are too old; Apache Kafka 1.0 or newer is needed")

// topicID is a topic's identity, which a topic made anew under the same name does not share.
type topicID [16]byte

func (id topicID) String() string {
	if id == (topicID{}) {
		return noID
	}
	return hex.EncodeToString(id[:])
}

// cluster is what brokers say of themselves.
type cluster struct {
	id     string
	topics map[string]topic
}

type topic struct {
	id         topicID
	err        error // the topic's own error, if any
	partitions map[int32]leader
}

// leader is the broker that leads a partition; -1 while there is none.
type leader int32

// metadata asks for the topics named; nil asks for all of them.
func (c *client) metadata(ctx context.Context, topics []string) (*cluster, error) {
	version, err := c.version(ctx, kmsg.Metadata, 4, 12)
	if err != nil {
		return nil, err
	}
	if version < 0 {
		return nil, errTooOld
	}
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(version)
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	answered, err := c.ask(ctx, -1, req)
	if err != nil {
		return nil, err
	}
	return clusterOf(answered.(*kmsg.MetadataResponse)), nil
}

func clusterOf(res *kmsg.MetadataResponse) *cluster {
	view := &cluster{id: noID, topics: map[string]topic{}}
	if res.ClusterID != nil {
		view.id = *res.ClusterID
	}
	for _, t := range res.Topics {
		if t.Topic == nil {
			continue
		}
		seen := topic{id: t.TopicID, partitions: map[int32]leader{}}
		if t.ErrorCode != 0 {
			seen.err = kafkago.Error(t.ErrorCode)
		}
		for _, p := range t.Partitions {
			seen.partitions[p.Partition] = leader(p.Leader)
		}
		view.topics[*t.Topic] = seen
	}
	return view
}

// Times that ListOffsets takes for ends of the log, beside milliseconds since 1970.
const (
	atEnd   = -1
	atStart = -2
)

// offsetAt returns the first offset of a time or an end of the log; -1 where no record is that new.
func (c *client) offsetAt(ctx context.Context, broker int32, topic string, partition int32, when int64) (int64, error) {
	version, err := c.version(ctx, kmsg.ListOffsets, 1, 6)
	if err != nil {
		return 0, err
	}
	if version < 0 {
		return 0, errTooOld
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(version)
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = partition, when
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	answered, err := c.ask(ctx, broker, req)
	if err != nil {
		return 0, err
	}
	res := answered.(*kmsg.ListOffsetsResponse)
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return 0, errors.New("ask for ListOffsets: the answer is not about one partition")
	}
	got := res.Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		return 0, fmt.Errorf("ask for ListOffsets: %w", kafkago.Error(got.ErrorCode))
	}
	return got.Offset, nil
}

// epochEnd returns where the log of a leader epoch ends, and the epoch that it speaks of: the asked one or the newest
// before it. -1 is unknown, also where the brokers are too old to tell.
func (c *client) epochEnd(ctx context.Context, broker int32, topic string, partition, epoch int32) (newest int32, end int64, err error) {
	version, err := c.version(ctx, kmsg.OffsetForLeaderEpoch, 2, 4)
	if err != nil || version < 0 {
		return -1, -1, err
	}
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.SetVersion(version)
	req.ReplicaID = -1
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = partition, -1, epoch
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	answered, err := c.ask(ctx, broker, req)
	if err != nil {
		return -1, -1, err
	}
	res := answered.(*kmsg.OffsetForLeaderEpochResponse)
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return -1, -1, errors.New("ask for OffsetForLeaderEpoch: the answer is not about one partition")
	}
	got := res.Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		return -1, -1, fmt.Errorf("ask for OffsetForLeaderEpoch: %w", kafkago.Error(got.ErrorCode))
	}
	return got.LeaderEpoch, got.EndOffset, nil
}
