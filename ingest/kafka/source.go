// Package kafka reads images from Kafka topics, exactly once: what a Progress says is consumed is not returned again,
// and everything else of the partitions that are this run's is returned, or reported as passed, or an error. It asks the
// brokers over kafka-go's connections, one loop for each partition, and checks what they answer. Partitions are assigned
// by configuration, not by a consumer group; offsets committed for lag tools (Committer) are never read.
package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/memory"
	kafkago "github.com/segmentio/kafka-go"
)

// Options say what to read and how.
type Options struct {
	// Brokers are host:port of some brokers, one of which must answer at first.
	Brokers []string
	// Topics are read; they must exist. Pattern, a regular expression that must match the whole name, adds topics as they
	// appear. One of both is needed.
	Topics  []string
	Pattern string
	// Transport makes the connections' settings, anew for each Open; nil connects in plain text. See NewTransport.
	Transport func() (*kafkago.Transport, error)
	// Decoder turns messages into samples.
	Decoder Decoder
	// Start is where a partition begins of which no progress is known at the first start.
	Start Start
	// State is what Seal returned for the checkpoint that is resumed; nil at the first start.
	State json.RawMessage
	// OnDataLoss is what happens when records are gone that were not read, or that were read are not the same any more;
	// "" means LossStop.
	OnDataLoss LossPolicy
	// Share is the part of the partitions that is this run's; the zero value is all of them.
	Share Share
	// Merge is the order between partitions; "" means MergeArrival.
	Merge MergeOrder
	// MergeTimeout is how long a deterministic merge waits for a partition without new records; 0 means a minute.
	MergeTimeout time.Duration
	// Overload is what to do when records arrive faster than they are trained on.
	Overload Overload
	// MaxBytes is the largest message that is read whole, 0 means 32 MiB; a larger one becomes a sample with a Problem.
	MaxBytes int
	// MemoryLimit is the bytes of messages read ahead, decompressors included, 0 means 256 MiB; at least 24 MiB and 8 times
	// MaxBytes. Records handed out are not part of it.
	MemoryLimit int64
	// FetchBytes is how much is asked of a partition at a time; 0 means 1 MiB, less where partitions are many.
	FetchBytes int
	// MetadataEvery is how often new topics and partitions are looked for; 0 means 5 s.
	MetadataEvery time.Duration
	// Timeout is how long a broker may take to accept a connection or to send the next byte; 0 means 10 s.
	Timeout time.Duration
	// OpenTimeout is how long Open tries to reach the cluster; 0 means 30 s. A reader that is open tries for ever.
	OpenTimeout time.Duration
	// Mem is where records are allocated; nil means a pool that records give their images' memory back to when they are
	// released, for the next ones.
	Mem memory.Allocator
	// Warn is told, in a sentence, what a person should know; nil means nobody. It may be called concurrently.
	Warn func(string)
}

// Share is the partitions with (hash of the topic + partition) mod Of == Index. Partitions added later change nothing for
// the others.
type Share struct{ Index, Of int }

// MergeOrder is an order between partitions.
type MergeOrder string

const (
	// MergeArrival takes records as they come; those of a partition stay in order.
	MergeArrival MergeOrder = "arrival"
	// MergeDeterministic goes by (offset, source, partition): a function of Progress alone as long as no partition is
	// waited for longer than MergeTimeout, and no topic or partition is added.
	MergeDeterministic MergeOrder = "deterministic"
)

// leastMemory is room for one decompressor and some small answers.
const leastMemory = 24 << 20

// Source reads the partitions of one cluster's topics. Methods may be called concurrently; Stats speak of the reader
// opened last.
type Source struct {
	o       Options
	pattern *regexp.Regexp // nil: none
	book    *book

	mu     sync.Mutex
	reader *reader // opened last
}

var _ ingest.Stream = (*Source)(nil)

// New makes a source. No broker is asked before Open.
func New(o Options) (*Source, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("read kafka: %w", err)
	}
	s := &Source{o: o}
	var err error
	if o.Pattern != "" {
		if s.pattern, err = regexp.Compile("^(?:" + o.Pattern + ")$"); err != nil {
			return nil, fmt.Errorf("read kafka: pattern of topics: %w; see ingest.kafka.topic_pattern", err)
		}
	}
	if s.book, err = openBook(o.State); err != nil {
		return nil, fmt.Errorf("read kafka: state of the checkpoint: %w", err)
	}
	return s, nil
}

func (o Options) withDefaults() Options {
	o.OnDataLoss = cmp.Or(o.OnDataLoss, LossStop)
	o.Merge = cmp.Or(o.Merge, MergeArrival)
	o.MergeTimeout = cmp.Or(o.MergeTimeout, time.Minute)
	o.Share.Of = cmp.Or(o.Share.Of, 1)
	o.MaxBytes = cmp.Or(o.MaxBytes, 32<<20)
	o.MemoryLimit = cmp.Or(o.MemoryLimit, 256<<20)
	o.FetchBytes = cmp.Or(o.FetchBytes, 1<<20)
	o.MetadataEvery = cmp.Or(o.MetadataEvery, 5*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.OpenTimeout = cmp.Or(o.OpenTimeout, 30*time.Second)
	o.Topics = slices.Compact(slices.Sorted(slices.Values(o.Topics)))
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Transport == nil {
		o.Transport = func() (*kafkago.Transport, error) { return &kafkago.Transport{}, nil }
	}
	return o
}

func (o Options) validate() error {
	switch {
	case len(o.Brokers) == 0:
		return errors.New("no brokers given; set ingest.kafka.brokers")
	case len(o.Topics) == 0 && o.Pattern == "":
		return errors.New("no topic given; set ingest.kafka.topics or ingest.kafka.topic_pattern")
	case slices.Contains(o.Topics, ""):
		return errors.New("a topic without a name; see ingest.kafka.topics")
	case o.Decoder == nil:
		return errors.New("no decoder given")
	case o.Share.Of < 1 || o.Share.Index < 0 || o.Share.Index >= o.Share.Of:
		return fmt.Errorf("share %d of %d is none; ingest.kafka.partitions is i/n with 0 <= i < n", o.Share.Index, o.Share.Of)
	case o.OnDataLoss != LossStop && o.OnDataLoss != LossSkip:
		return fmt.Errorf("on_data_loss %q is neither %q nor %q", o.OnDataLoss, LossStop, LossSkip)
	case o.Merge != MergeArrival && o.Merge != MergeDeterministic:
		return fmt.Errorf("merge %q is neither %q nor %q", o.Merge, MergeArrival, MergeDeterministic)
	case o.Merge == MergeDeterministic && o.Overload.sheds():
		return errors.New("merge: deterministic needs overload: lag; what is shed depends on time")
	case o.MaxBytes < 1 || o.MaxBytes > 1<<30:
		return fmt.Errorf("largest message of %d bytes is not in 1..%d", o.MaxBytes, 1<<30)
	case o.MemoryLimit < max(leastMemory, 8*int64(o.MaxBytes)):
		return fmt.Errorf("memory limit of %d bytes is below the %d that messages of %d bytes need; raise loader.memory_limit",
			o.MemoryLimit, max(leastMemory, 8*int64(o.MaxBytes)), o.MaxBytes)
	case o.FetchBytes < 1 || o.FetchBytes > 1<<30:
		return fmt.Errorf("fetch of %d bytes is not in 1..%d", o.FetchBytes, 1<<30)
	case o.MergeTimeout < 0 || o.MetadataEvery < 0 || o.Timeout < 0 || o.OpenTimeout < 0:
		return errors.New("a time is negative")
	}
	return errors.Join(o.Start.validate(), o.Overload.validate())
}

// Open implements ingest.Stream. It blocks until the cluster has answered and the start of every partition is known. The
// reader outlives ctx.
func (s *Source) Open(ctx context.Context, done ingest.Progress) (ingest.StreamReader, error) {
	r, err := openReader(ctx, s, done.Clone())
	if err != nil {
		return nil, fmt.Errorf("open kafka: %w", err)
	}
	s.mu.Lock()
	s.reader = r
	s.mu.Unlock()
	return r, nil
}

// Seal returns what a checkpoint must keep beside progress, for Options.State: where partitions began, and by what the
// last consumed records are known again. It may be called while a reader works, and asks no broker.
func (s *Source) Seal(progress ingest.Progress) (json.RawMessage, error) {
	return s.book.seal(progress)
}
