package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// policies runs a test once for each policy of data loss.
func policies(t *testing.T, test func(t *testing.T, o Options, c *kfake.Cluster, told *warnings)) {
	for _, policy := range []LossPolicy{LossStop, LossSkip} {
		t.Run(string(policy), func(t *testing.T) {
			c := startCluster(t, kfake.SeedTopics(1, "imgs"))
			o, told := options(c, "imgs"), &warnings{}
			o.OnDataLoss, o.Warn = policy, told.add
			test(t, o, c, told)
		})
	}
}

// lossSays checks an error of LossStop.
func lossSays(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, ErrDataLoss) {
		t.Fatalf("the error is %v, want a data loss", err)
	}
	for _, part := range append(parts, `topic "imgs"`, "ingest.kafka.on_data_loss") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
}

func TestRetentionGap(t *testing.T) {
	policies(t, func(t *testing.T, o Options, c *kfake.Cluster, told *warnings) {
		client, source := producer(t, c), newSource(t, o)
		name := sourceName(t, c, "imgs")
		produce(t, client, "imgs", 0, 4)
		before := openSession(t, source, ingest.Progress{})
		before.samples(4)
		before.reader.Close()
		produce(t, client, "imgs", 0, 6)
		if err := c.DeleteRecords("imgs", 0, 7); err != nil {
			t.Fatal(err)
		}
		s := openSession(t, source, before.token)
		if o.OnDataLoss == LossStop {
			lossSays(t, s.fails(), "lost offsets 4 to 6", "retention", "partition 0")
			return
		}
		s.samples(3)
		s.reaches(name, 0, 10)
		if lost := source.Stats().Partitions[0].Lost; lost != 3 || !told.has("lost offsets 4 to 6") {
			t.Errorf("lost %d, want 3; told %q", lost, told.all)
		}
	})
}

// TestRetentionBeforeStart is no loss: a run that begins at the earliest record has lost nothing.
func TestRetentionBeforeStart(t *testing.T) {
	policies(t, func(t *testing.T, o Options, c *kfake.Cluster, told *warnings) {
		produce(t, producer(t, c), "imgs", 0, 6)
		if err := c.DeleteRecords("imgs", 0, 4); err != nil {
			t.Fatal(err)
		}
		s := openSession(t, newSource(t, o), ingest.Progress{})
		s.samples(2)
		if gap := s.token.Streams[sourceName(t, c, "imgs")][0].FirstGap(0); gap != 6 {
			t.Errorf("first gap is %d, want 6", gap)
		}
	})
}

func TestTruncatedLog(t *testing.T) {
	policies(t, func(t *testing.T, o Options, c *kfake.Cluster, told *warnings) {
		client, name := producer(t, c), sourceName(t, c, "imgs")
		produce(t, client, "imgs", 0, 3)
		var done ingest.Progress
		done.AddRange(name, 0, 0, 5)
		source := newSource(t, o)
		s := openSession(t, source, done)
		if o.OnDataLoss == LossStop {
			lossSays(t, s.fails(), "lost offsets 3 to 4", "cut off")
			return
		}
		for !told.has("lost offsets 3 to 4") {
			if s.t.Context().Err() != nil {
				t.Fatal("nobody was told")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if err := s.next(ctx); err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
			cancel()
		}
		want := produce(t, client, "imgs", 0, 4)[2:] // offsets 3 and 4 count as consumed
		if got := valuesOf(s.samples(2)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestDivergingEpoch has a broker say that its log of our epoch ends earlier.
func TestDivergingEpoch(t *testing.T) {
	policies(t, func(t *testing.T, o Options, c *kfake.Cluster, told *warnings) {
		client := producer(t, c)
		produce(t, client, "imgs", 0, 4)
		source := newSource(t, o)
		s := openSession(t, source, ingest.Progress{})
		s.samples(4)
		c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			fetch := req.(*kmsg.FetchRequest)
			if p := fetch.Topics[0].Partitions[0]; p.LastFetchedEpoch < 0 || p.FetchOffset != 4 {
				t.Errorf("fetch at %d says epoch %d", p.FetchOffset, p.LastFetchedEpoch)
			}
			res := fetchAnswer(fetch, nil, 4)
			res.Topics[0].Partitions[0].DivergingEpoch.Epoch = 0
			res.Topics[0].Partitions[0].DivergingEpoch.EndOffset = 2
			return res, nil, true
		})
		if o.OnDataLoss == LossStop {
			lossSays(t, s.fails(), "lost offsets 2 to 3", "written anew")
			return
		}
		produce(t, client, "imgs", 0, 1)
		s.samples(5)
		if lost := source.Stats().Partitions[0].Lost; lost != 2 {
			t.Errorf("lost %d, want 2", lost)
		}
	})
}

// fetchAnswer makes an answer for the one partition asked for.
func fetchAnswer(req *kmsg.FetchRequest, batches []byte, end int64) *kmsg.FetchResponse {
	res := req.ResponseKind().(*kmsg.FetchResponse)
	t := kmsg.NewFetchResponseTopic()
	t.Topic, t.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.HighWatermark, p.LastStableOffset, p.RecordBatches = req.Topics[0].Partitions[0].Partition, end, end, batches
	t.Partitions = append(t.Partitions, p)
	res.Topics = append(res.Topics, t)
	return res
}

// TestOtherRecordOnResume resumes where the log has another record in the place of the last consumed one.
func TestOtherRecordOnResume(t *testing.T) {
	policies(t, func(t *testing.T, o Options, c *kfake.Cluster, told *warnings) {
		client, source := producer(t, c), newSource(t, o)
		produce(t, client, "imgs", 0, 4)
		s := openSession(t, source, ingest.Progress{})
		s.samples(4)
		s.reader.Close()
		state, err := source.Seal(s.token)
		if err != nil {
			t.Fatal(err)
		}
		o.State = state
		same := openSession(t, newSource(t, o), s.token) // the same record is no loss
		same.reader.Close()

		other, err := openBook(state)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range other.entries {
			e.witnesses[0].CRC++
		}
		if o.State, err = other.seal(s.token); err != nil {
			t.Fatal(err)
		}
		r, err := newSource(t, o).Open(t.Context(), s.token)
		if o.OnDataLoss == LossStop {
			lossSays(t, err, "lost offsets 3 to 3", "another record")
			return
		}
		if err != nil || !told.has("another record") {
			t.Fatalf("Open: %v, told %q", err, told.all)
		}
		r.Close()
	})
}

// TestEpochEndOnResume resumes where the log of the last record's leader ends before that record.
func TestEpochEndOnResume(t *testing.T) {
	policies(t, func(t *testing.T, o Options, c *kfake.Cluster, told *warnings) {
		client, source := producer(t, c), newSource(t, o)
		produce(t, client, "imgs", 0, 4)
		s := openSession(t, source, ingest.Progress{})
		s.samples(4)
		s.reader.Close()
		c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			ask := req.(*kmsg.OffsetForLeaderEpochRequest)
			res := ask.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
			t := kmsg.NewOffsetForLeaderEpochResponseTopic()
			t.Topic = ask.Topics[0].Topic
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.LeaderEpoch, p.EndOffset = ask.Topics[0].Partitions[0].LeaderEpoch, 1
			t.Partitions = append(t.Partitions, p)
			res.Topics = append(res.Topics, t)
			return res, nil, true
		})
		r, err := source.Open(t.Context(), s.token)
		if o.OnDataLoss == LossStop {
			lossSays(t, err, "lost offsets 1 to 3", "cut off")
			return
		}
		if err != nil || !told.has("lost offsets 1 to 3") {
			t.Fatalf("Open: %v, told %q", err, told.all)
		}
		r.Close()
	})
}

func TestTopicMadeAnew(t *testing.T) {
	policies(t, func(t *testing.T, o Options, c *kfake.Cluster, told *warnings) {
		client, source := producer(t, c), newSource(t, o)
		produce(t, client, "imgs", 0, 3)
		s := openSession(t, source, ingest.Progress{})
		s.samples(3)
		old := s.got[0].Source
		if err := c.DeleteTopic("imgs"); err != nil {
			t.Fatal(err)
		}
		if err := c.CreateTopic("imgs", 1, nil); err != nil {
			t.Fatal(err)
		}
		want := produce(t, producer(t, c), "imgs", 0, 5)
		if o.OnDataLoss == LossStop {
			lossSays(t, s.fails(), "made anew")
			s.reader.Close()
			_, err := source.Open(t.Context(), s.token) // a restart does not help
			lossSays(t, err, "made anew")
			return
		}
		if got := s.samples(8)[3:]; !slices.Equal(valuesOf(got), want) || got[0].Source == old {
			t.Errorf("got %q of %s, want %q", valuesOf(got), got[0].Source, want)
		}
		if !told.has("made anew") {
			t.Errorf("told %q", told.all)
		}
	})
}
