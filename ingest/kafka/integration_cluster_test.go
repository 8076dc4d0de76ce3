//go:build integration

package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/internal/servertest"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// clusterPatience is how long what must happen may take while brokers come and go.
	clusterPatience = 60 * time.Second
	// frozenFor is how long a stopped leader stays so.
	frozenFor = 15 * time.Second
	// clusterSteps is how many records of each partition must pass before the next trouble.
	clusterSteps = 30
)

// TestIntegrationTroubles reads what is being written to three brokers, in plain text and over TLS with a login, while a
// leader is killed, another one stopped and partitions added. Every acknowledged record must come once and in order.
func TestIntegrationTroubles(t *testing.T) {
	k := servertest.ThreeBrokers(t)
	k.Alone(t)
	w := newClusterWriter(t, k, 3)
	all := followers{follow(t, "plain", k.Brokers, Security{}, w.topic),
		follow(t, "tls", k.Secure, secureBy(k, SASLScramSHA512), w.topic)}
	all.advance(t, "the start", w, 0)

	killed := w.leader(t, 0)
	k.Kill(t, killed)
	all.advance(t, "the leader of partition 0 killed", w, 0)
	k.Restart(t, killed)
	all.advance(t, "that broker back", w, 0)

	k.Freeze(t, w.leader(t, 1))
	all.advance(t, "the leader of partition 1 stopped", w, frozenFor)
	k.Thaw(t, w.leaderBefore)
	all.advance(t, "that broker going on", w, 0)

	w.grow(t, 5)
	all.advance(t, "partitions added", w, 0)
	w.finish(t)
	all.reach(t, "the end", w.acked())
	for _, f := range all {
		f.check(t)
	}
}

// TestIntegrationSecure reads over TLS with each way of logging in, and is refused with a wrong password.
func TestIntegrationSecure(t *testing.T) {
	k := servertest.ThreeBrokers(t)
	w := newClusterWriter(t, k, 1)
	for _, mechanism := range []string{SASLPlain, SASLScramSHA256, SASLScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			followers{follow(t, mechanism, k.Secure, secureBy(k, mechanism), w.topic)}.advance(t, "the start", w, 0)
			s := secureBy(k, mechanism)
			s.Password = NewSecret("not-" + k.Password)
			_, err := clusterSource(t, k.Secure, s, w.topic).Open(t.Context(), ingest.Progress{})
			if !errors.Is(err, ErrAuthentication) || bytes.Contains([]byte(err.Error()), []byte(k.Password)) {
				t.Errorf("open with a wrong password: %v", err)
			}
		})
	}
}

func secureBy(k servertest.Kafka, mechanism string) Security {
	return Security{TLS: true, CAFile: k.CA, SASL: mechanism, Username: k.User, Password: NewSecret(k.Password)}
}

func clusterSource(t *testing.T, brokers []string, s Security, topic string) *Source {
	return newSource(t, Options{Brokers: brokers, Topics: []string{topic}, Decoder: plainDecoder{}, MetadataEvery: 500 * time.Millisecond,
		OpenTimeout: clusterPatience, Transport: func() (*kafkago.Transport, error) { return NewTransport(s) }})
}

// clusterWriter writes numbered records to every partition of a topic, one after the other, until it is finished.
type clusterWriter struct {
	client       *kgo.Client
	topic        string
	stop         chan struct{}
	writing      sync.WaitGroup
	numbers      []*atomic.Int64 // acknowledged records by partition
	leaderBefore int             // what leader returned last
}

func newClusterWriter(t *testing.T, k servertest.Kafka, partitions int32) *clusterWriter {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.ProduceRequestTimeout(2*time.Second), kgo.RequestTimeoutOverhead(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w := &clusterWriter{client: client, topic: fmt.Sprintf("troubles-%d", time.Now().UnixNano()), stop: make(chan struct{})}
	createReal(t, client, w.topic, partitions, 3)
	t.Cleanup(func() { deleteReal(t, client, w.topic) })
	w.open(t, partitions)
	t.Cleanup(func() { w.finish(t) })
	return w
}

// open starts writing to partitions up to n.
func (w *clusterWriter) open(t *testing.T, n int32) {
	for p := int32(len(w.numbers)); p < n; p++ {
		number := &atomic.Int64{}
		w.numbers = append(w.numbers, number)
		w.writing.Go(func() { w.write(t, p, number) })
	}
}

func (w *clusterWriter) write(t *testing.T, partition int32, number *atomic.Int64) {
	filler := bytes.Repeat([]byte("."), 10_000)
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		value := append(fmt.Appendf(nil, "%d/%d ", partition, number.Load()), filler...)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), clusterPatience)
		err := w.client.ProduceSync(ctx, &kgo.Record{Topic: w.topic, Partition: partition, Value: value}).FirstErr()
		cancel()
		if err != nil {
			t.Errorf("write to partition %d: %v", partition, err)
			return
		}
		number.Add(1)
	}
}

// leader returns the broker that leads a partition.
func (w *clusterWriter) leader(t *testing.T, partition int32) int {
	t.Helper()
	within(t, "leader", func() bool {
		req := kmsg.NewPtrMetadataRequest()
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &w.topic
		req.Topics = append(req.Topics, rt)
		res, err := req.RequestWith(t.Context(), w.client)
		if err != nil {
			return false
		}
		for _, p := range res.Topics[0].Partitions {
			if p.Partition == partition {
				w.leaderBefore = int(p.Leader)
				return p.Leader > 0
			}
		}
		return false
	})
	return w.leaderBefore
}

// grow adds partitions up to n and writes to them too.
func (w *clusterWriter) grow(t *testing.T, n int32) {
	t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = w.topic, n
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10_000
	res, err := req.RequestWith(t.Context(), w.client)
	if err == nil && res.Topics[0].ErrorCode != 0 {
		err = kafkago.Error(res.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the writer knows the new partitions", func() bool {
		w.client.ForceMetadataRefresh()
		leader, _, err := w.client.PartitionLeader(w.topic, n-1)
		return err == nil && leader > 0
	})
	w.open(t, n)
}

func (w *clusterWriter) acked() []int64 {
	var all []int64
	for _, number := range w.numbers {
		all = append(all, number.Load())
	}
	return all
}

// finish ends writing once what is on its way is acknowledged.
func (w *clusterWriter) finish(t *testing.T) {
	t.Helper()
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.writing.Wait()
}

// within waits for a condition.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(clusterPatience); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, clusterPatience)
		}
	}
}
