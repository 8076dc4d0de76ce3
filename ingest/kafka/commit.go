package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mocostream/ingest"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	commitTimeout = 30 * time.Second
	// commitAgain is after how long an offset is committed anew that has not moved: brokers forget those of a week.
	commitAgain = 12 * time.Hour
	// maxCommitMetadata is how many bytes brokers take with an offset, as they are delivered.
	maxCommitMetadata = 4096
)

// CommitOptions say where offsets are committed to.
type CommitOptions struct {
	Brokers []string
	// Transport makes the connections' settings; nil connects in plain text. See NewTransport.
	Transport func() (*kafkago.Transport, error)
	// Timeout is how long one Commit tries; 0 means 30 s.
	Timeout time.Duration
}

// Committer tells brokers how far a run is, for tools that show a group's lag. Nothing is ever read from there: a failed
// commit loses nothing. Its methods may be called concurrently.
type Committer struct {
	client  *client
	offsets *kafkago.Client
	timeout time.Duration

	mu   sync.Mutex
	done map[committed]commitState
}

type committed struct {
	group, topic, id string
	partition        int32
}

type commitState struct {
	offset int64
	at     time.Time
}

// NewCommitter makes a Committer, without connecting yet.
func NewCommitter(o CommitOptions) (*Committer, error) {
	if len(o.Brokers) == 0 {
		return nil, errors.New("commit offsets: no brokers; set ingest.kafka.brokers")
	}
	newTransport := o.Transport
	if newTransport == nil {
		newTransport = func() (*kafkago.Transport, error) { return NewTransport(Security{}) }
	}
	transport, err := newTransport()
	if err != nil {
		return nil, fmt.Errorf("commit offsets: %w", err)
	}
	c := newClient(transport, o.Brokers, dialTimeout)
	return &Committer{
		client:  c,
		offsets: &kafkago.Client{Addr: c.addr, Transport: transport},
		timeout: cmp.Or(o.Timeout, commitTimeout),
		done:    map[committed]commitState{},
	}, nil
}

// Close ends the connections.
func (c *Committer) Close() { c.client.close() }

// Commit tells the group's coordinator, for each partition in progress, the first offset that is not consumed, with
// metadata that names the checkpoint (call it when that is durable). Sources that are not of this cluster, or of a topic
// that was made anew since, are left out, and so is what has not moved. It tries for CommitOptions.Timeout; its error is worth a
// warning, and the run goes on.
func (c *Committer) Commit(ctx context.Context, group string, progress ingest.Progress, metadata string) error {
	if len(metadata) > maxCommitMetadata {
		return fmt.Errorf("commit offsets of group %q: metadata of %d bytes, brokers take %d", group, len(metadata), maxCommitMetadata)
	}
	if len(topicsIn(progress)) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("not done within %v", c.timeout))
	defer cancel()
	var troubles streak
	for {
		err := c.commit(ctx, group, progress, metadata)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("commit offsets of group %q: %w", group, err)
		if permanent(err) || hopeless(err) || refusedCommit(err) {
			return err
		}
		if troubles.pause(ctx) != nil {
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
	}
}

// refusedCommit says whether the same commit will be refused again.
func refusedCommit(err error) bool {
	for _, code := range []kafkago.Error{kafkago.UnknownMemberId, kafkago.IllegalGeneration, kafkago.RebalanceInProgress,
		kafkago.InvalidGroupId, kafkago.OffsetMetadataTooLarge, kafkago.InvalidCommitOffsetSize} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

func (c *Committer) commit(ctx context.Context, group string, progress ingest.Progress, metadata string) error {
	topics := topicsIn(progress)
	view, err := c.client.metadata(ctx, topics)
	if err != nil {
		return err
	}
	moved := c.moved(group, progress, view)
	if len(moved) == 0 {
		return nil
	}
	request := &kafkago.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: map[string][]kafkago.OffsetCommit{}}
	for key, offset := range moved {
		request.Topics[key.topic] = append(request.Topics[key.topic],
			kafkago.OffsetCommit{Partition: int(key.partition), Offset: offset, Metadata: metadata})
	}
	answer, err := c.offsets.OffsetCommit(ctx, request)
	if err != nil {
		return err
	}
	return c.note(moved, answer)
}

// moved returns the offsets to commit.
func (c *Committer) moved(group string, progress ingest.Progress, view *cluster) map[committed]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	moved := map[committed]int64{}
	for source, partitions := range progress.Streams {
		cluster, topic, id, ok := splitSource(source)
		if now := view.topics[topic]; !ok || cluster != view.id || now.err != nil || now.id.String() != id {
			continue
		}
		for partition, consumed := range partitions {
			key := committed{group, topic, id, partition}
			offset := consumed.FirstGap(0) // what lies before the start counts as consumed
			if last := c.done[key]; offset == 0 || last.offset == offset && time.Since(last.at) < commitAgain {
				continue
			}
			moved[key] = offset
		}
	}
	return moved
}

// note remembers what the coordinator took and returns the errors of the others.
func (c *Committer) note(moved map[committed]int64, answer *kafkago.OffsetCommitResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for key, offset := range moved {
		err := errors.New("the broker did not answer for it")
		for _, p := range answer.Topics[key.topic] {
			if p.Partition == int(key.partition) {
				err = p.Error
			}
		}
		switch {
		case err == nil:
			c.done[key] = commitState{offset, time.Now()}
		case errors.Is(err, kafkago.UnknownMemberId), errors.Is(err, kafkago.RebalanceInProgress), errors.Is(err, kafkago.IllegalGeneration):
			return fmt.Errorf("the group has other members: %w; set ingest.kafka.group to a name that only this run has", err)
		default:
			errs = append(errs, fmt.Errorf("topic %q partition %d: %w", key.topic, key.partition, err))
		}
	}
	if len(errs) > 3 { // the same for all, as a rule
		errs = append(errs[:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return errors.Join(errs...)
}

// topicsIn returns the topics that progress is about.
func topicsIn(progress ingest.Progress) []string {
	var topics []string
	for source := range progress.Streams {
		if _, topic, _, ok := splitSource(source); ok && !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	return topics
}
