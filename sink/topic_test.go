package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/kafka"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

// brokers starts some with the topic "out" of 3 partitions.
func brokers(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2), kfake.SeedTopics(3, "out")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func openTopic(t *testing.T, c *kfake.Cluster, o TopicOptions) *Topic {
	t.Helper()
	o.Brokers = c.ListenAddrs()
	if o.Topic == "" {
		o.Topic = "out"
	}
	topic, err := OpenTopic(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(topic.Close)
	return topic
}

// consume reads n records of the topic "out".
func consume(t *testing.T, c *kfake.Cluster, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(all), n, err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

func TestTopicSend(t *testing.T) {
	c := brokers(t)
	topic := openTopic(t, c, TopicOptions{MaxBytes: 4 << 10}) // a few messages a batch
	var messages []Message
	for i := range 100 {
		messages = append(messages, Message{Key: fmt.Appendf(nil, "key %d", i%10), Value: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 500))})
	}
	if err := topic.Send(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic("out")
	last := map[string]int{}
	for _, r := range consume(t, c, 100) {
		if want := partitioner.Partition(&kgo.Record{Key: r.Key}, 3); int(r.Partition) != want {
			t.Errorf("%s is in partition %d, other clients choose %d", r.Key, r.Partition, want)
		}
		var i int
		if _, err := fmt.Sscanf(string(r.Value), "%d", &i); err != nil || fmt.Sprint("key ", i%10) != string(r.Key) {
			t.Errorf("key %s has value %.10s", r.Key, r.Value)
		}
		if before, ok := last[string(r.Key)]; ok && i <= before {
			t.Errorf("%s: %d after %d", r.Key, i, before)
		}
		last[string(r.Key)] = i
	}
	if err := topic.Send(t.Context(), nil); err != nil {
		t.Errorf("nothing to send: %v", err)
	}
}

// refuse answers the next produce requests with codes.
func refuse(c *kfake.Cluster, codes ...int16) {
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if len(codes) == 0 {
			return nil, nil, false
		}
		c.KeepControl()
		code := codes[0]
		codes = codes[1:]
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			res.Topics = append(res.Topics, rt)
		}
		return res, nil, true
	})
}

func TestTopicTriesAgain(t *testing.T) {
	c := brokers(t)
	var mu sync.Mutex
	var warned []string
	topic := openTopic(t, c, TopicOptions{Warn: func(text string) {
		mu.Lock()
		defer mu.Unlock()
		warned = append(warned, text)
	}})
	refuse(c, 6, 7, 19, 20)
	if err := topic.Send(t.Context(), []Message{{Key: []byte("k"), Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	if got := consume(t, c, 1); string(got[0].Value) != "v" {
		t.Errorf("got %q", got[0].Value)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "trying again") {
		t.Errorf("warnings: %q", warned)
	}
}

func TestTopicErrors(t *testing.T) {
	c := brokers(t)
	one := []Message{{Key: []byte("k"), Value: []byte("v")}}
	check := func(what string, topic *Topic, messages []Message, want string) {
		t.Helper()
		err := topic.Send(t.Context(), messages)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", what, err, want)
		}
	}
	check("missing", openTopic(t, c, TopicOptions{Topic: "none"}), one, "create it or set sink.kafka.topic")
	check("too long", openTopic(t, c, TopicOptions{MaxBytes: 1 << 10}), append(one, Message{Value: make([]byte, 1<<10)}), "sink.kafka.max_bytes")
	topic := openTopic(t, c, TopicOptions{Timeout: 300 * time.Millisecond})
	refuse(c, 10)
	check("broker's limit", topic, one, "max.message.bytes")
	refuse(c, 29)
	check("no rights", topic, one, "let this user write")
	refuse(c, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7)
	check("for ever", topic, one, "not done within 300ms")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := topic.Send(ctx, one); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for want, o := range map[string]TopicOptions{
		"sink.kafka.brokers": {Topic: "x"},
		"here.topic":         {Brokers: []string{"b:1"}, Setting: "here"},
		"less than 1024":     {Brokers: []string{"b:1"}, Topic: "x", MaxBytes: 1},
	} {
		if _, err := OpenTopic(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTopicWrongPassword(t *testing.T) {
	c := brokers(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "me", "right"))
	const password = "correct-horse-battery"
	topic := openTopic(t, c, TopicOptions{Transport: func() (*kafkago.Transport, error) {
		return kafka.NewTransport(kafka.Security{SASL: kafka.SASLPlain, Username: "me", Password: kafka.NewSecret(password), Setting: "sink.kafka"})
	}})
	err := topic.Send(t.Context(), []Message{{Value: []byte("v")}})
	if !errors.Is(err, kafka.ErrAuthentication) || !strings.Contains(err.Error(), "sink.kafka.password") || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, topic), password) {
		t.Errorf("got %v", err)
	}
}

func TestTopicDeadLetters(t *testing.T) {
	c := brokers(t)
	topic := openTopic(t, c, TopicOptions{MaxBytes: 2 << 10})
	id := ingest.ID{Source: "kafka:c/t/i", Partition: 1, Offset: 2, Item: 3}
	small := loader.DeadLetter{ID: id, Key: "a", Reason: "truncated", Detail: "d", Bytes: 3, SHA256: "00", Image: []byte("abc")}
	large := small
	large.ID.Item, large.Image = 4, make([]byte, 4<<10)
	if err := topic.SendDeadLetters(t.Context(), []loader.DeadLetter{small, large}); err != nil {
		t.Fatal(err)
	}
	got := map[string]loader.DeadLetter{}
	for _, r := range consume(t, c, 2) {
		var l loader.DeadLetter
		if err := json.Unmarshal(r.Value, &l); err != nil {
			t.Fatal(err)
		}
		got[string(r.Key)] = l
	}
	large.Image = nil
	equal(t, "dead letters", got, map[string]loader.DeadLetter{"kafka:c/t/i/1/2/3": small, "kafka:c/t/i/1/2/4": large})
}

func TestTopicEmbeddings(t *testing.T) {
	c := brokers(t)
	topic := openTopic(t, c, TopicOptions{})
	rows := []Embedded{
		{ID: ingest.ID{Source: "s", Partition: 1, Offset: 2, Item: 3}, Key: "a", Label: 4, Features: []float32{0.1, -2, 3e-30}},
		{ID: ingest.ID{Source: "s", Partition: 1, Offset: 3}, Key: "b", Label: -1, Features: []float32{1, 2, 3}},
	}
	for _, format := range []EmbeddingFormat{EmbeddingJSON, EmbeddingArrow} {
		if err := topic.SendEmbeddings(t.Context(), format, "v7", rows); err != nil {
			t.Fatal(err)
		}
	}
	byKind := map[string]map[string]string{}
	for _, r := range consume(t, c, 4) {
		equal(t, "header", r.Headers[1], kgo.RecordHeader{Key: "encoder-version", Value: []byte("v7")})
		kind := string(r.Headers[0].Value)
		if byKind[kind] == nil {
			byKind[kind] = map[string]string{}
		}
		text := string(r.Value)
		if kind != "application/json" {
			text = rowText(t, r.Value)
		}
		byKind[kind][string(r.Key)] = text
	}
	equal(t, "embeddings", byKind, map[string]map[string]string{
		"application/json": {
			"s/1/2/3@v7": `{"id":{"source":"s","partition":1,"offset":2,"item":3},"key":"a","label":4,"version":"v7","embedding":[0.1,-2,3e-30]}`,
			"s/1/3/0@v7": `{"id":{"source":"s","partition":1,"offset":3},"key":"b","version":"v7","embedding":[1,2,3]}`,
		},
		"application/vnd.apache.arrow.stream": {"s/1/2/3@v7": "s/1/2/3@v7 a 4 v7 [0.1,-2,3e-30]", "s/1/3/0@v7": "s/1/3/0@v7 b (null) v7 [1,2,3]"},
	})
	for _, bad := range []Embedded{{}, {Features: []float32{float32(nan())}}} {
		if err := topic.SendEmbeddings(t.Context(), EmbeddingJSON, "v7", []Embedded{bad}); err == nil {
			t.Errorf("%v is sent", bad)
		}
	}
	if err := topic.SendEmbeddings(t.Context(), "xml", "v7", rows); err == nil || !strings.Contains(err.Error(), "json or arrow") {
		t.Errorf("got %v", err)
	}
}

func nan() float64 { var zero float64; return zero / zero }

// rowText prints the one row of an Arrow stream.
func rowText(t *testing.T, value []byte) string {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if !r.Next() {
		t.Fatal("no row")
	}
	var text []string
	for _, c := range r.Record().Columns() {
		text = append(text, c.(arrowText).ValueStr(0))
	}
	return strings.Join(text, " ")
}

type arrowText interface{ ValueStr(int) string }

var _ arrowText = (*array.String)(nil)

func TestTopicLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "out"))
	if err != nil {
		t.Fatal(err)
	}
	topic := openTopic(t, c, TopicOptions{})
	if err := topic.Send(t.Context(), []Message{{Value: []byte("v")}}); err != nil {
		t.Error(err)
	}
	topic.Close()
	c.Close()
	goleak.VerifyNone(t, before)
}
