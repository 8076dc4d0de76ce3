package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errMemory says that an answer is larger than the memory for it.
var errMemory = errors.New("message is larger than the memory for messages; raise loader.memory_limit")

// fetchCall is one request for records of one partition.
type fetchCall struct {
	broker    int32
	topic     string
	id        topicID
	partition int32
	offset    int64
	epoch     int32 // of the record before offset, -1: unknown; brokers then tell of logs that were truncated
	maxBytes  int32
	maxWait   time.Duration
	committed bool // no further than the last stable offset
}

// frame is an answer to a fetchCall. Its batches lie in buf.
type frame struct {
	kmsg.FetchResponseTopicPartition
	buf  []byte
	hold *hold // its bytes, and as many for the records made of them
}

// fetch asks for records. Memory for the answer is taken once its size is known, before it is read.
func (c *client) fetch(ctx context.Context, call fetchCall, memory *budget, urgent *atomic.Bool, pool *pool) (*frame, error) {
	req, err := c.fetchRequest(ctx, call)
	if err != nil {
		return nil, err
	}
	f := &frame{}
	err = c.exchange(ctx, call.broker, req, call.maxWait, func(a *answer, size int) (err error) {
		if 2*int64(size) > memory.limit {
			return fmt.Errorf("read %d bytes: %w", size, errMemory)
		}
		if f.hold, err = memory.take(ctx, 2*int64(size), urgent); err != nil {
			return err
		}
		f.buf = pool.Allocate(size)
		_, err = io.ReadFull(a, f.buf)
		return err
	})
	if err == nil {
		err = f.parse(req)
	}
	if err != nil {
		f.close(pool)
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return f, nil
}

// close gives back what the frame holds; chunks made of it may still hold its memory.
func (f *frame) close(pool *pool) {
	pool.Free(f.buf)
	f.buf, f.RecordBatches = nil, nil
	if f.hold != nil {
		f.hold.release()
	}
}

// parse reads an answer to a request for one partition, whose own error is left to the caller.
func (f *frame) parse(req *kmsg.FetchRequest) error {
	res := req.ResponseKind().(*kmsg.FetchResponse)
	body, err := skipTags(f.buf, res)
	if err != nil {
		return err
	}
	if err := res.ReadFrom(body); err != nil {
		return err
	}
	if res.ErrorCode != 0 {
		return kafkago.Error(res.ErrorCode)
	}
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return errors.New("the answer is not about one partition")
	}
	f.FetchResponseTopicPartition = res.Topics[0].Partitions[0]
	if want := req.Topics[0].Partitions[0].Partition; f.Partition != want {
		return fmt.Errorf("the answer is about partition %d, not %d", f.Partition, want)
	}
	return nil
}

func (c *client) fetchRequest(ctx context.Context, call fetchCall) (*kmsg.FetchRequest, error) {
	newest := int16(13) // by topic id
	if call.id == (topicID{}) {
		newest = 12
	}
	version, err := c.version(ctx, kmsg.Fetch, 4, newest)
	if err != nil {
		return nil, err
	}
	if version < 0 {
		return nil, errTooOld
	}
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	req.ReplicaID, req.MinBytes, req.MaxBytes = -1, 1, call.maxBytes
	req.MaxWaitMillis = int32(call.maxWait / time.Millisecond)
	if call.committed {
		req.IsolationLevel = 1
	}
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.FetchOffset = call.partition, -1, call.offset
	p.LastFetchedEpoch, p.LogStartOffset, p.PartitionMaxBytes = call.epoch, -1, call.maxBytes
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = call.topic, call.id, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req, nil
}
