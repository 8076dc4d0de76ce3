//go:build integration

package kafka

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// realBrokers returns the brokers of a real cluster.
func realBrokers(t testing.TB) []string {
	brokers := os.Getenv("MOCOSTREAM_KAFKA")
	if brokers == "" {
		const say = "MOCOSTREAM_KAFKA is not set; start a broker with `make kafka-up` and set what it prints"
		if os.Getenv("MOCOSTREAM_REQUIRE_SERVERS") != "" {
			t.Fatal(say)
		}
		t.Skip(say)
	}
	return strings.Split(brokers, ",")
}

// realTopic makes a topic that is deleted at the end, and a client that writes to it.
func realTopic(t testing.TB, partitions int32, opts ...kgo.Opt) (*kgo.Client, string) {
	brokers := realBrokers(t)
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.UnknownTopicRetries(-1), kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	topic := fmt.Sprintf("test-%d", time.Now().UnixNano())
	createReal(t, client, topic, partitions, 1)
	t.Cleanup(func() { deleteReal(t, client, topic) })
	return client, topic
}

func createReal(t testing.TB, client *kgo.Client, topic string, partitions int32, replicas int16) {
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, replicas
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10000
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	for {
		res, err := req.RequestWith(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		switch code := kafkago.Error(res.Topics[0].ErrorCode); code {
		case 0:
			return
		case kafkago.TopicAlreadyExists: // being deleted
		default:
			t.Fatal(code)
		}
	}
}

func deleteReal(t testing.TB, client *kgo.Client, topic string) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	rt := kmsg.NewDeleteTopicsRequestTopic()
	rt.Topic = &topic
	req.Topics, req.TopicNames, req.TimeoutMillis = append(req.Topics, rt), []string{topic}, 10000
	if _, err := req.RequestWith(context.WithoutCancel(t.Context()), client); err != nil {
		t.Error(err)
	}
}

func realOptions(t testing.TB, topic string) Options {
	return Options{Brokers: realBrokers(t), Topics: []string{topic}, Decoder: plainDecoder{}, MetadataEvery: 200 * time.Millisecond}
}

func TestIntegrationResume(t *testing.T) {
	client, topic := realTopic(t, 3)
	var want []string
	for p := range int32(3) {
		want = append(want, produce(t, client, topic, p, 200)...)
	}
	source := newSource(t, realOptions(t, topic))
	s := openSession(t, source, ingest.Progress{})
	s.until("some samples", func() bool { return len(s.got) > 100 })
	s.reader.Close()
	state, err := source.Seal(s.token)
	if err != nil {
		t.Fatal(err)
	}
	o := realOptions(t, topic)
	o.State = state
	resumed := openSession(t, newSource(t, o), s.token)
	if len(s.got) < 600 {
		resumed.samples(600 - len(s.got))
	}
	got := append(valuesOf(s.got), valuesOf(resumed.got)...)
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("got %d samples, want %d", len(got), len(want))
	}
	if !strings.HasPrefix(s.got[0].Source, "kafka:") || strings.HasSuffix(s.got[0].Source, "/"+noID) {
		t.Errorf("source %q has no topic id", s.got[0].Source)
	}
}

func TestIntegrationTransactions(t *testing.T) {
	client, topic := realTopic(t, 1, kgo.TransactionalID(fmt.Sprint("tx", time.Now().UnixNano())))
	want := transact(t, client, topic, 5, kgo.TryCommit)
	for range 5 {
		transact(t, client, topic, 3, kgo.TryAbort)
	}
	want = append(want, transact(t, client, topic, 5, kgo.TryCommit)...)
	s := openSession(t, newSource(t, realOptions(t, topic)), ingest.Progress{})
	if got := valuesOf(s.samples(10)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.reaches(s.got[0].Source, 0, 5+1+5*4+5+1)
}

func TestIntegrationRetention(t *testing.T) {
	for _, policy := range []LossPolicy{LossStop, LossSkip} {
		t.Run(string(policy), func(t *testing.T) {
			client, topic := realTopic(t, 1)
			produce(t, client, topic, 0, 4)
			o, told := realOptions(t, topic), &warnings{}
			o.OnDataLoss, o.Warn = policy, told.add
			source := newSource(t, o)
			s := openSession(t, source, ingest.Progress{})
			s.samples(4)
			s.reader.Close()
			produce(t, client, topic, 0, 6)
			req := kmsg.NewPtrDeleteRecordsRequest()
			rt, rp := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
			rp.Offset, rt.Topic = 7, topic
			rt.Partitions = append(rt.Partitions, rp)
			req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10000
			if _, err := req.RequestWith(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			resumed := openSession(t, source, s.token)
			if policy == LossStop {
				if err := resumed.fails(); !strings.Contains(err.Error(), "lost offsets 4 to 6") {
					t.Error(err)
				}
				return
			}
			resumed.samples(3)
			if !told.has("lost offsets 4 to 6") {
				t.Errorf("told %q", told.all)
			}
		})
	}
}

func TestIntegrationTopicMadeAnew(t *testing.T) {
	client, topic := realTopic(t, 1)
	produce(t, client, topic, 0, 3)
	s := openSession(t, newSource(t, realOptions(t, topic)), ingest.Progress{})
	s.samples(3)
	deleteReal(t, client, topic)
	createReal(t, client, topic, 1, 1)
	if err := s.fails(); !strings.Contains(err.Error(), "made anew") {
		t.Errorf("Next: %v", err)
	}
}

// BenchmarkReal reads 8,000 messages of 110 kB from four partitions of a real broker, each iteration all of them.
func BenchmarkReal(b *testing.B) {
	const messages, size = 8000, 110_000
	client, topic := realTopic(b, 4)
	value := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	done := make(chan error, messages)
	for i := range messages {
		client.Produce(b.Context(), &kgo.Record{Topic: topic, Partition: int32(i % 4), Value: value}, func(_ *kgo.Record, err error) { done <- err })
	}
	for range messages {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(messages * int64(len(value)))
	for b.Loop() {
		r, err := newSource(b, realOptions(b, topic)).Open(b.Context(), ingest.Progress{})
		if err != nil {
			b.Fatal(err)
		}
		for n := int64(0); n < messages; {
			rec, err := r.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			n += rec.NumRows()
			rec.Release()
		}
		r.Close()
	}
}
