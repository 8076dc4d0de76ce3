package kafka

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"

	"github.com/apache/arrow/go/v17/arrow"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// plainDecoder takes the value for an image; a value "N*rest" makes N images.
type plainDecoder struct{}

func (plainDecoder) Append(_ context.Context, b *ingest.Builder, row ingest.Row, r *record) (int32, error) {
	if r.Value == nil {
		return 0, nil
	}
	row.Key, row.Items = string(r.Key), 1
	if !r.Time.IsZero() {
		row.Time = new(arrow.Timestamp(r.Time.UnixMicro()))
	}
	if count, _, many := bytes.Cut(r.Value, []byte("*")); many && len(count) == 1 {
		row.Items = int32(count[0] - '0')
	}
	for row.Item = 0; row.Item < row.Items; row.Item++ {
		b.Append(row, r.Value)
	}
	return row.Items, nil
}

// warnings collects what Options.Warn is told.
type warnings struct {
	mu  sync.Mutex
	all []string
}

func (w *warnings) add(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, s)
}

func (w *warnings) has(part string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(strings.Join(w.all, "\n"), part)
}

// startCluster runs brokers in this process until the test ends, and checks for goroutines left over.
func startCluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		ignore := goleak.IgnoreCurrent()
		t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	}
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// producer writes to a cluster until the test ends.
func producer(t testing.TB, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(10 * time.Millisecond), kgo.ProducerBatchMaxBytes(64 << 20), kgo.BrokerMaxWriteBytes(128 << 20)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// produce writes n small records into a partition as one batch and returns their values.
func produce(t testing.TB, client *kgo.Client, topic string, partition int32, n int) []string {
	t.Helper()
	var records []*kgo.Record
	var values []string
	for i := range n {
		value := fmt.Sprintf("%s/%d#%d@%d", topic, partition, i, time.Now().UnixNano())
		values = append(values, value)
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Key: []byte(fmt.Sprint("k", i)), Value: []byte(value)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return values
}

// options are for quick tests against c.
func options(c *kfake.Cluster, topics ...string) Options {
	return Options{Brokers: c.ListenAddrs(), Topics: topics, Decoder: plainDecoder{}, MetadataEvery: 50 * time.Millisecond,
		Timeout: 2 * time.Second, OpenTimeout: patience, MaxBytes: 1 << 20, MemoryLimit: 64 << 20,
		Transport: func() (*kafkago.Transport, error) {
			return &kafkago.Transport{MetadataTTL: 100 * time.Millisecond}, nil
		}}
}

func newSource(t testing.TB, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// session is a reader and what it has given so far, as a consumer takes it.
type session struct {
	t      testing.TB
	source *Source
	reader ingest.StreamReader
	token  ingest.Progress // of all samples taken
	got    []ingesttest.Sample
	passed []ingest.Span
}

func openSession(t testing.TB, s *Source, done ingest.Progress) *session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := s.Open(ctx, done)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return &session{t: t, source: s, reader: r, token: done.Clone()}
}

// until takes records until stop holds.
func (s *session) until(what string, stop func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for !stop() {
		if err := s.next(ctx); err != nil {
			s.t.Fatalf("wait for %s, with %d samples: %v", what, len(s.got), err)
		}
	}
}

func (s *session) next(ctx context.Context) error {
	rec, err := s.reader.Next(ctx)
	if err != nil {
		return err
	}
	defer rec.Release()
	for _, span := range s.reader.Passed() {
		s.passed = append(s.passed, span)
		s.token.AddRange(span.Source, span.Partition, span.Start, span.End)
	}
	for _, sample := range ingesttest.Samples(rec) {
		if s.token.Contains(sample.ID) {
			s.t.Errorf("%v is given again", sample.ID)
		}
		s.token.AddItem(sample.ID, sample.Items)
		s.got = append(s.got, sample)
	}
	return nil
}

// samples takes records until there are n samples in all.
func (s *session) samples(n int) []ingesttest.Sample {
	s.t.Helper()
	s.until(fmt.Sprintf("%d samples", n), func() bool { return len(s.got) >= n })
	if len(s.got) > n {
		s.t.Fatalf("%d samples, want %d", len(s.got), n)
	}
	return s.got
}

// reaches takes records until everything before end is consumed or passed in a partition of the topic's source.
func (s *session) reaches(source string, partition int32, end int64) {
	s.t.Helper()
	s.until(fmt.Sprintf("offset %d", end), func() bool { return s.token.Streams[source][partition].FirstGap(0) >= end })
}

// fails takes records until there is an error, and returns it.
func (s *session) fails() error {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		if err := s.next(ctx); err != nil {
			if ctx.Err() != nil {
				s.t.Fatal("there was no error")
			}
			return err
		}
	}
}

func valuesOf(samples []ingesttest.Sample) []string {
	var all []string
	for _, s := range samples {
		all = append(all, string(s.Image))
	}
	return all
}

// sourceName is the source of a topic of c.
func sourceName(t testing.TB, c *kfake.Cluster, topic string) string {
	t.Helper()
	client := newClient(&kafkago.Transport{}, c.ListenAddrs(), patience)
	defer client.close()
	view, err := client.metadata(t.Context(), []string{topic})
	if err != nil {
		t.Fatal(err)
	}
	return sourceOf(view.id, topic, view.topics[topic].id.String())
}
