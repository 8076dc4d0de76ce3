package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mocostream/ingest/kafka"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

const (
	// DefaultTopicBytes is what brokers take as a message unless they are told otherwise, less what a batch adds.
	DefaultTopicBytes = 1<<20 - 1<<10
	topicTimeout      = 2 * time.Minute
	topicTryTimeout   = 30 * time.Second
	topicWriters      = 4 // partitions written to at the same time
	topicFirstPause   = 50 * time.Millisecond
	topicLongestPause = 5 * time.Second
	messageOverhead   = 64 // bytes around a message's key and value, at most, without headers
)

// TopicOptions say where messages go.
type TopicOptions struct {
	Brokers []string
	Topic   string // must exist
	// Transport makes the connections' settings; nil connects in plain text. See kafka.NewTransport.
	Transport func() (*kafkago.Transport, error)
	// MaxBytes is the largest message, and about the largest batch; 0 means DefaultTopicBytes, which a broker's
	// message.max.bytes must allow.
	MaxBytes int
	// Timeout is how long one Send tries, 0 means two minutes.
	Timeout time.Duration
	// Setting is what configures the topic, for messages; "" is "sink.kafka".
	Setting string
	// Warn is told when brokers do not answer but are tried again, once in a Send; nil is nobody. It may be called
	// concurrently.
	Warn func(text string)
}

// Message is what one image becomes in a topic.
type Message struct {
	// Key says what the message is about. The same key goes to the same partition (as Kafka's own clients choose it), so
	// that a consumer, or a compacted topic, can tell a message that was sent twice.
	Key     []byte
	Value   []byte
	Headers []kafkago.Header
}

// size is at least what m takes in a batch.
func (m *Message) size() int {
	n := messageOverhead + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += 10 + len(h.Key) + len(h.Value)
	}
	return n
}

// Topic writes messages to a Kafka topic, each at least once. Its methods may be called concurrently.
type Topic struct {
	o         TopicOptions
	transport *kafkago.Transport
	client    *kafkago.Client
}

// OpenTopic makes a Topic, without connecting yet. Close it.
func OpenTopic(o TopicOptions) (*Topic, error) {
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultTopicBytes)
	o.Timeout = cmp.Or(o.Timeout, topicTimeout)
	o.Setting = cmp.Or(o.Setting, "sink.kafka")
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	switch {
	case len(o.Brokers) == 0:
		return nil, fmt.Errorf("open topic: no brokers; set %s.brokers", o.Setting)
	case o.Topic == "":
		return nil, fmt.Errorf("open topic: no topic; set %s.topic", o.Setting)
	case o.MaxBytes < 1<<10:
		return nil, fmt.Errorf("open topic %q: largest message of %d bytes is less than 1024", o.Topic, o.MaxBytes)
	}
	if o.Transport == nil {
		o.Transport = func() (*kafkago.Transport, error) { return kafka.NewTransport(kafka.Security{Setting: o.Setting}) }
	}
	transport, err := o.Transport()
	if err != nil {
		return nil, fmt.Errorf("open topic %q: %w", o.Topic, err)
	}
	return &Topic{o: o, transport: transport, client: &kafkago.Client{Addr: kafkago.TCP(o.Brokers...), Transport: transport}}, nil
}

// Close ends the connections. It does not interrupt a Send; cancel its context.
func (t *Topic) Close() { t.transport.CloseIdleConnections() }

// Send returns when all in-sync replicas have all messages; those of one partition lie there in this order. It tries again
// what is transient until Options.Timeout. After an error some are there and others not: send them again. A message above
// MaxBytes is an error before any is sent.
func (t *Topic) Send(ctx context.Context, messages []Message) error {
	for i := range messages {
		if n := messages[i].size(); n > t.o.MaxBytes {
			return fmt.Errorf("send to topic %q: message %q of %d bytes is above %d; raise %s.max_bytes and the topic's max.message.bytes",
				t.o.Topic, messages[i].Key, n, t.o.MaxBytes, t.o.Setting)
		}
	}
	if len(messages) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.o.Timeout, fmt.Errorf("not done within %v", t.o.Timeout))
	defer cancel()
	var partitions []int
	if err := t.persist(ctx, func(ctx context.Context) (err error) {
		partitions, err = t.partitions(ctx)
		return err
	}); err != nil {
		return err
	}
	byPartition := map[int][]Message{}
	for _, m := range messages {
		p := kafkago.Murmur2Balancer{Consistent: true}.Balance(kafkago.Message{Key: m.Key}, partitions...)
		byPartition[p] = append(byPartition[p], m)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(topicWriters)
	for p, of := range byPartition {
		group.Go(func() error { return t.sendTo(ctx, p, of) })
	}
	return group.Wait()
}

// partitions returns the topic's.
func (t *Topic) partitions(ctx context.Context) ([]int, error) {
	m, err := t.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{t.o.Topic}})
	if err != nil {
		return nil, err
	}
	if len(m.Topics) != 1 {
		return nil, kafkago.UnknownTopicOrPartition
	}
	if err := m.Topics[0].Error; err != nil {
		return nil, err
	}
	var all []int
	for _, p := range m.Topics[0].Partitions {
		all = append(all, p.ID)
	}
	slices.Sort(all)
	if len(all) == 0 {
		return nil, kafkago.LeaderNotAvailable
	}
	return all, nil
}

// sendTo sends messages to one partition, a batch at a time.
func (t *Topic) sendTo(ctx context.Context, partition int, messages []Message) error {
	for len(messages) > 0 {
		n, bytes := 0, 0
		for n < len(messages) && (n == 0 || bytes+messages[n].size() <= t.o.MaxBytes) {
			bytes += messages[n].size()
			n++
		}
		batch := messages[:n]
		if err := t.persist(ctx, func(ctx context.Context) error { return t.produce(ctx, partition, batch) }); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

func (t *Topic) produce(ctx context.Context, partition int, batch []Message) error {
	records := make([]kafkago.Record, len(batch))
	for i, m := range batch {
		records[i] = kafkago.Record{Time: time.Now(), Key: kafkago.NewBytes(m.Key), Value: kafkago.NewBytes(m.Value), Headers: m.Headers}
	}
	answer, err := t.client.Produce(ctx, &kafkago.ProduceRequest{
		Topic:        t.o.Topic,
		Partition:    partition,
		RequiredAcks: kafkago.RequireAll,
		Records:      kafkago.NewRecordReader(records...),
	})
	if err != nil {
		return err
	}
	for _, bad := range answer.RecordErrors {
		answer.Error = errors.Join(answer.Error, bad)
	}
	return answer.Error
}

// persist tries until it succeeds, cannot, or ctx ends; each try has a deadline of its own, since a broker may be silent.
func (t *Topic) persist(ctx context.Context, try func(context.Context) error) error {
	for pause, tries := topicFirstPause, 1; ; tries++ {
		once, cancel := context.WithTimeout(ctx, topicTryTimeout)
		err := try(once)
		cancel()
		if err == nil {
			return nil
		}
		if err = t.explain(err, tries); !errors.Is(err, errTryAgain) {
			return err
		}
		if tries == 3 {
			t.o.Warn(fmt.Sprintf("%v; trying again for up to %v", err, t.o.Timeout))
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		pause = min(2*pause, topicLongestPause)
	}
}

// errTryAgain is in an error of a broker that may do better.
var errTryAgain = errors.New("brokers do not take it")

// unknownTries is how often a topic must be missing: a new one is not known to all brokers at once.
const unknownTries = 5

// explain makes an error for a person; one that tries may cure has errTryAgain in it.
func (t *Topic) explain(err error, tries int) error {
	what := fmt.Sprintf("send to topic %q", t.o.Topic)
	switch {
	case errors.Is(err, kafka.ErrAuthentication), errors.Is(err, kafka.ErrTrust), errors.Is(err, kafka.ErrProtocol):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, kafkago.UnknownTopicOrPartition) && tries >= unknownTries:
		return fmt.Errorf("%s: %w; create it or set %s.topic", what, err, t.o.Setting)
	case errors.Is(err, kafkago.MessageSizeTooLarge), errors.Is(err, kafkago.RecordListTooLarge):
		return fmt.Errorf("%s: %w; raise the topic's max.message.bytes or lower %s.max_bytes", what, err, t.o.Setting)
	case errors.Is(err, kafkago.TopicAuthorizationFailed), errors.Is(err, kafkago.ClusterAuthorizationFailed):
		return fmt.Errorf("%s: %w; let this user write to it", what, err)
	case errors.Is(err, kafkago.InvalidTopic), errors.Is(err, kafkago.InvalidRecord), errors.Is(err, kafkago.PolicyViolation):
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, errTryAgain, err)
}
