package kafka

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// sourceScheme begins the names of all sources of this package.
const sourceScheme = "kafka:"

// missingTries is how often a topic must be missing at Open: a new one is not known to all brokers at once.
const missingTries = 3

// sourceOf names a topic for ever: "kafka:<cluster id>/<topic>/<topic id>", the last "-" where brokers have none.
func sourceOf(cluster, topic, id string) string {
	return sourceScheme + cluster + "/" + topic + "/" + id
}

// splitSource undoes sourceOf. Neither cluster ids nor topics hold a slash.
func splitSource(source string) (cluster, topic, id string, ok bool) {
	rest, ok := strings.CutPrefix(source, sourceScheme)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// mine says whether a partition is of the share.
func (s Share) mine(topic string, partition int32) bool {
	h := fnv.New32a()
	h.Write([]byte(topic))
	return (int64(h.Sum32())+int64(partition))%int64(s.Of) == int64(s.Index)
}

// wanted says whether a topic is to be read.
func (s *Source) wanted(topic string) bool {
	_, named := slices.BinarySearch(s.o.Topics, topic)
	return named || s.pattern != nil && s.pattern.MatchString(topic)
}

// reach asks for metadata until a broker answers and all topics named are there, or ctx ends.
func (r *reader) reach(ctx context.Context) error {
	var troubles streak
	for missing := 0; ; {
		view, err := r.ask(ctx)
		if err == nil {
			if err = r.complete(view); err == nil {
				r.view = view
				return nil
			}
			missing++
		} else {
			missing = 0
			err = fmt.Errorf("ask brokers %s: %w; check ingest.kafka.brokers and security, and that they run",
				strings.Join(r.o.Brokers, ", "), err)
		}
		if missing >= missingTries || hopeless(err) {
			return err
		}
		if waiting := troubles.pause(ctx); waiting != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// ask gets metadata of the topics named, or of all if there is a pattern.
func (r *reader) ask(ctx context.Context) (*cluster, error) {
	if r.source.pattern != nil {
		return r.client.metadata(ctx, nil)
	}
	return r.client.metadata(ctx, r.o.Topics)
}

// complete checks that all topics named are there.
func (r *reader) complete(view *cluster) error {
	for _, name := range r.o.Topics {
		t, ok := view.topics[name]
		switch {
		case !ok || errors.Is(t.err, kafkago.UnknownTopicOrPartition):
			return fmt.Errorf("topic %q does not exist on the cluster of %s; create it or set ingest.kafka.topics",
				name, strings.Join(r.o.Brokers, ", "))
		case t.err != nil && !errors.Is(t.err, kafkago.LeaderNotAvailable):
			return fmt.Errorf("topic %q: %w; see its name and rights, or set ingest.kafka.topics", name, t.err)
		}
	}
	return nil
}

// assign makes the partitions of a view that are this run's and not open yet. A topic that was made anew is an error, by
// policy.
func (r *reader) assign(view *cluster) ([]*partition, error) {
	var found []*partition
	for _, name := range slices.Sorted(maps.Keys(view.topics)) {
		t := view.topics[name]
		if !r.source.wanted(name) || t.err != nil || len(t.partitions) == 0 {
			continue
		}
		source, err := r.sourceFor(view.id, name, t.id)
		if err != nil {
			return nil, err
		}
		for _, number := range slices.Sorted(maps.Keys(t.partitions)) {
			key := bookKey{source, number}
			if !r.o.Share.mine(name, number) || r.isOpen(key) {
				continue
			}
			found = append(found, &partition{r: r, topic: name, id: t.id, number: number, source: source, key: key})
		}
	}
	return found, nil
}

func (r *reader) isOpen(key bookKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.partitions[key] != nil
}

// sourceFor returns the source of a topic. If the topic was read before under another id, or on another cluster, its
// records are lost, except where that was known and brokers had no ids then.
func (r *reader) sourceFor(cluster, topic string, id topicID) (string, error) {
	source := sourceOf(cluster, topic, id.String())
	known := r.source.book.sources()
	for s := range r.done.Streams {
		if c, _, _, ok := splitSource(s); ok && c == cluster {
			known[s] = true // another cluster's may be another stream's of the same run
		}
	}
	r.mu.Lock()
	before := r.current[topic]
	r.mu.Unlock()
	if known[source] || before == source {
		return source, nil
	}
	for s := range known {
		c, t, old, ok := splitSource(s)
		switch {
		case !ok || t != topic:
		case c == cluster && old == noID:
			return s, nil
		case before == "" || before == s:
			return source, r.replaced(topic, s, source)
		}
	}
	return source, nil
}

// replaced says that a topic is another one than what was read.
func (r *reader) replaced(topic, before, now string) error {
	loss := &LossError{Topic: topic, Partition: -1, From: -1, To: -1,
		Reason: fmt.Sprintf("it was made anew or is on another cluster (%s now, %s when it was read): what was not read of the old one is lost", now, before)}
	if r.o.OnDataLoss == LossStop {
		return loss
	}
	r.o.Warn(loss.what() + "; reading the new one from its start (ingest.kafka.on_data_loss: skip)")
	return nil
}

// refresh has the metadata looked at soon.
func (r *reader) refresh() {
	select {
	case r.looks <- struct{}{}:
	default:
	}
}

// leader returns who leads a partition as far as is known.
func (r *reader) leader(name string, id topicID, partition int32) (leader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.view.topics[name]
	switch {
	case !ok || errors.Is(t.err, kafkago.UnknownTopicOrPartition):
		return -1, fmt.Errorf("topic %q is gone; waiting for it", name)
	case t.err != nil:
		return -1, t.err
	case t.id != id:
		return -1, fmt.Errorf("topic %q was made anew", name)
	}
	l, ok := t.partitions[partition]
	if !ok || l < 0 {
		return -1, kafkago.LeaderNotAvailable
	}
	return l, nil
}

// watch keeps the view of the cluster up to date and starts partitions that appear.
func (r *reader) watch(ctx context.Context) error {
	ticker := time.NewTicker(r.o.MetadataEvery)
	defer ticker.Stop()
	var troubles streak
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		case <-r.looks:
		}
		view, err := r.ask(ctx)
		if err == nil {
			troubles = streak{}
			if err := r.adopt(ctx, view); err != nil {
				return err
			}
			if err := wait(ctx, firstPause); err != nil { // no more often than that
				return err
			}
			continue
		}
		if troubles.warn() {
			r.o.Warn(fmt.Sprintf("kafka: brokers %s cannot be asked for topics, trying on: %v", strings.Join(r.o.Brokers, ", "), err))
		}
		if err := troubles.pause(ctx); err != nil {
			return err
		}
	}
}

// adopt takes a newer view of the cluster.
func (r *reader) adopt(ctx context.Context, view *cluster) error {
	r.mu.Lock()
	r.view = view
	r.mu.Unlock()
	found, err := r.assign(view)
	if err != nil {
		return err
	}
	for _, p := range found {
		if err := p.begin(ctx); err != nil {
			return err
		}
		r.retire(p.topic, p.source)
		r.add(p)
		r.o.Warn(fmt.Sprintf("kafka topic %q: reading its new partition %d from offset %d", p.topic, p.number, p.next))
		r.run(ctx, p)
	}
	return nil
}

// retire ends the partitions of a topic that has been replaced by another source.
func (r *reader) retire(topic, source string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, p := range r.partitions {
		if p.topic == topic && p.source != source {
			p.stop()
			delete(r.partitions, key)
			if r.merge != nil {
				r.merge.retire(p)
			}
		}
	}
}
