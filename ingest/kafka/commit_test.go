package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// committer makes one of a cluster with the topic "images", and the name of that topic as a source.
func committer(t *testing.T, c *kfake.Cluster) (*Committer, string) {
	t.Helper()
	k, err := NewCommitter(CommitOptions{Brokers: c.ListenAddrs(), Timeout: 10 * time.Second})
	must(t, err)
	t.Cleanup(k.Close)
	view, err := k.client.metadata(t.Context(), []string{"images"})
	must(t, err)
	return k, sourceOf(view.id, "images", view.topics["images"].id.String())
}

// inGroup asks the cluster what was committed: offset and metadata by partition.
func inGroup(t *testing.T, k *Committer, group string) map[int]string {
	t.Helper()
	res, err := k.offsets.OffsetFetch(t.Context(), &kafkago.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{"images": {0, 1}}})
	must(t, err)
	found := map[int]string{}
	for _, p := range res.Topics["images"] {
		if p.CommittedOffset >= 0 {
			found[p.Partition] = fmt.Sprint(p.CommittedOffset, " ", p.Metadata)
		}
	}
	return found
}

func TestCommit(t *testing.T) {
	c := broker(t)
	k, source := committer(t, c)
	var requests int
	var codes []int16
	c.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		requests++
		if len(codes) == 0 {
			return nil, nil, false
		}
		code := codes[0]
		codes = codes[1:]
		r := req.(*kmsg.OffsetCommitRequest)
		res := r.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, topic := range r.Topics {
			rt := kmsg.NewOffsetCommitResponseTopic()
			rt.Topic = topic.Topic
			for _, p := range topic.Partitions {
				rp := kmsg.NewOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			res.Topics = append(res.Topics, rt)
		}
		return res, nil, true
	})
	var p ingest.Progress
	p.AddRange(source, 0, 0, 10)
	p.AddRange(source, 0, 12, 20) // beyond a gap
	p.AddRange(source, 1, 5, 9)   // nothing from its start yet
	p.AddRange("kafka:other/images/"+strings.Repeat("0", 32), 1, 0, 99)
	p.AddRange("s3://b/p#follow", 0, 0, 5)
	expect := func(what string, wantRequests int, want map[int]string) {
		t.Helper()
		if got := inGroup(t, k, "lag"); fmt.Sprint(got) != fmt.Sprint(want) || requests != wantRequests {
			t.Errorf("%s: %v after %d requests, want %v after %d", what, got, requests, want, wantRequests)
		}
	}
	codes = []int16{15, 14, 16}
	must(t, k.Commit(t.Context(), "lag", p, "checkpoint=step-1"))
	expect("with retries", 4, map[int]string{0: "10 checkpoint=step-1"})
	must(t, k.Commit(t.Context(), "lag", p, "checkpoint=step-2"))
	expect("nothing moved", 4, map[int]string{0: "10 checkpoint=step-1"})
	p.AddRange(source, 1, 0, 5)
	must(t, k.Commit(t.Context(), "lag", p, "checkpoint=step-3"))
	expect("one moved", 5, map[int]string{0: "10 checkpoint=step-1", 1: "9 checkpoint=step-3"})

	p.AddRange(source, 1, 0, 11)
	codes = []int16{25}
	if err := k.Commit(t.Context(), "lag", p, ""); !errors.Is(err, kafkago.UnknownMemberId) || !strings.Contains(err.Error(), "ingest.kafka.group") {
		t.Errorf("group with members: %v", err)
	}
	must(t, k.Commit(t.Context(), "lag", p, "checkpoint=step-4"))
	expect("after a refusal", 7, map[int]string{0: "10 checkpoint=step-1", 1: "11 checkpoint=step-4"})
}

func TestCommitOfNothing(t *testing.T) {
	k, err := NewCommitter(CommitOptions{Brokers: []string{"127.0.0.1:1"}, Timeout: 100 * time.Millisecond})
	must(t, err)
	defer k.Close()
	must(t, k.Commit(t.Context(), "lag", ingest.Progress{}, "")) // asks nobody
	if err := k.Commit(t.Context(), "lag", ingest.Progress{}, strings.Repeat("x", 5000)); err == nil {
		t.Error("long metadata is taken")
	}
	var p ingest.Progress
	p.AddRange("kafka:c/images/-", 0, 0, 10)
	err = k.Commit(t.Context(), "lag", p, "")
	if err == nil || !strings.Contains(err.Error(), "connect to broker 127.0.0.1:1") || !strings.Contains(err.Error(), "not done within") {
		t.Errorf("no broker: %v", err)
	}
	if _, err := NewCommitter(CommitOptions{}); err == nil {
		t.Error("no brokers are taken")
	}
}
