package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fill writes records of one and of many images, with tombstones between, and returns the samples expected.
func fill(t *testing.T, c *kfake.Cluster, topic string, partitions int32) []ingesttest.Sample {
	client := producer(t, c, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	source := sourceName(t, c, topic)
	var want []ingesttest.Sample
	for p := range partitions {
		for offset := range int64(12) {
			at := time.UnixMilli(1_700_000_000_000 + offset)
			r := &kgo.Record{Topic: topic, Partition: p, Key: []byte(fmt.Sprint(offset)), Timestamp: at,
				Value: []byte(strings.Repeat(fmt.Sprintf("image %d/%d ", p, offset), 40))}
			items := int32(1)
			switch offset % 5 {
			case 2:
				r.Value = nil
				items = 0
			case 4:
				items = 3
				r.Value = fmt.Appendf(nil, "3*%d/%d", p, offset)
			}
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			for item := range items {
				want = append(want, ingesttest.Sample{Image: r.Value, Row: ingest.Row{Items: items, Key: string(r.Key),
					ID: ingest.ID{Source: source, Partition: p, Offset: offset, Item: item}, Time: new(arrow.Timestamp(at.UnixMicro()))}})
			}
		}
	}
	client.Close()
	return want
}

func TestConformance(t *testing.T) {
	for _, merge := range []MergeOrder{MergeArrival, MergeDeterministic} {
		t.Run(string(merge), func(t *testing.T) {
			c := startCluster(t, kfake.SeedTopics(3, "imgs"))
			want := fill(t, c, "imgs", 3)
			ingesttest.TestStream(t, func(t *testing.T) (ingest.Stream, []ingesttest.Sample) {
				o := options(c, "imgs")
				o.Merge, o.MergeTimeout = merge, 20*time.Millisecond
				return newSource(t, o), want
			})
		})
	}
}

func TestCodecs(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(1, "imgs"))
	var want []string
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		client := producer(t, c, kgo.ProducerBatchCompression(codec))
		want = append(want, produce(t, client, "imgs", 0, 50)...)
	}
	s := openSession(t, newSource(t, options(c, "imgs")), ingest.Progress{})
	if got := valuesOf(s.samples(len(want))); !slices.Equal(got, want) {
		t.Errorf("got %d values, want %d others", len(got), len(want))
	}
}

func TestStart(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(2, "imgs"))
	client := producer(t, c)
	middle := time.UnixMilli(1_700_000_000_000)
	for p := range int32(2) {
		for i := range 10 {
			r := &kgo.Record{Topic: "imgs", Partition: p, Value: fmt.Appendf(nil, "%d", i), Timestamp: middle.Add(time.Duration(i-5) * time.Second)}
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	source := sourceName(t, c, "imgs")
	tests := map[string]struct {
		start Start
		want  [2]int64 // first offset by partition
	}{
		"earliest":  {Start{}, [2]int64{0, 0}},
		"latest":    {Start{At: StartLatest}, [2]int64{10, 10}},
		"timestamp": {Start{At: StartTime, Time: middle}, [2]int64{5, 5}},
		"future":    {Start{At: StartTime, Time: middle.Add(time.Hour)}, [2]int64{10, 10}},
		"offsets":   {Start{At: StartOffsets, Offsets: map[string]map[int32]int64{"imgs": {1: 7}}}, [2]int64{0, 7}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(c, "imgs")
			o.Start = test.start
			s := openSession(t, newSource(t, o), ingest.Progress{})
			s.reaches(source, 0, 10)
			s.reaches(source, 1, 10)
			first := [2]int64{10, 10}
			for _, sample := range s.got {
				first[sample.Partition] = min(first[sample.Partition], sample.Offset)
			}
			if first != test.want {
				t.Errorf("first offsets are %v, want %v", first, test.want)
			}
		})
	}
	t.Run("beyond the end", func(t *testing.T) {
		o := options(c, "imgs")
		o.Start = Start{At: StartOffsets, Offsets: map[string]map[int32]int64{"imgs": {0: 11}}}
		_, err := newSource(t, o).Open(t.Context(), ingest.Progress{})
		if err == nil || !strings.Contains(err.Error(), "ends at 10") {
			t.Errorf("Open: %v", err)
		}
	})
}

// TestLatestSurvives stops between checkpoints: what came in after the first start is read by a resume.
func TestLatestSurvives(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(2, "imgs"))
	client := producer(t, c)
	produce(t, client, "imgs", 1, 3)
	o := options(c, "imgs")
	o.Start = Start{At: StartLatest}
	source := newSource(t, o)
	s := openSession(t, source, ingest.Progress{})
	s.until("what lies before the start", func() bool { return len(s.passed) > 0 })
	state, err := source.Seal(s.token)
	if err != nil {
		t.Fatal(err)
	}
	s.reader.Close()
	produce(t, client, "imgs", 0, 2) // partition 0 was empty: its Progress is, too
	produce(t, client, "imgs", 1, 2)
	o.State = state
	resumed := openSession(t, newSource(t, o), s.token)
	resumed.samples(4)
}

func TestMissingTopic(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(1, "imgs"))
	_, err := newSource(t, options(c, "imgs", "nowhere")).Open(t.Context(), ingest.Progress{})
	if err == nil || !strings.Contains(err.Error(), `topic "nowhere" does not exist`) || !strings.Contains(err.Error(), "ingest.kafka.topics") {
		t.Errorf("Open: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	c := startCluster(t)
	o := options(c, "imgs")
	c.Close()
	o.OpenTimeout = 3 * time.Second
	_, err := newSource(t, o).Open(t.Context(), ingest.Progress{})
	if err == nil || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), "ingest.kafka.brokers") {
		t.Errorf("Open: %v", err)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Brokers: []string{"b:9092"}, Topics: []string{"t"}, Decoder: plainDecoder{}}
	tests := map[string]struct {
		change func(*Options)
		want   string
	}{
		"no brokers":   {func(o *Options) { o.Brokers = nil }, "ingest.kafka.brokers"},
		"no topics":    {func(o *Options) { o.Topics = nil }, "ingest.kafka.topics"},
		"bad pattern":  {func(o *Options) { o.Pattern = "(" }, "ingest.kafka.topic_pattern"},
		"share":        {func(o *Options) { o.Share = Share{2, 2} }, "share 2 of 2"},
		"loss":         {func(o *Options) { o.OnDataLoss = "maybe" }, `on_data_loss "maybe"`},
		"merge":        {func(o *Options) { o.Merge = "sorted" }, `merge "sorted"`},
		"start":        {func(o *Options) { o.Start.At = "end" }, `start "end"`},
		"no time":      {func(o *Options) { o.Start.At = StartTime }, "without a time"},
		"overload":     {func(o *Options) { o.Overload = Overload{Mode: OverloadSample, MaxLag: 1, Keep: 1} }, "keeps 1"},
		"jump":         {func(o *Options) { o.Overload = Overload{Mode: OverloadJump, MaxLag: 1, JumpTo: 2} }, "jump to 2"},
		"no lag":       {func(o *Options) { o.Overload = Overload{Mode: OverloadJump} }, "at least 1"},
		"memory":       {func(o *Options) { o.MemoryLimit = 1 << 20 }, "loader.memory_limit"},
		"state":        {func(o *Options) { o.State = []byte(`{"version":7}`) }, "version 7"},
		"shed in turn": {func(o *Options) { o.Merge, o.Overload = MergeDeterministic, Overload{Mode: OverloadJump, MaxLag: 1} }, "depends on time"},
	}
	for name, test := range tests {
		o := good
		test.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", name, err, test.want)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

func TestShare(t *testing.T) {
	for _, topic := range []string{"a", "imgs", "x.y"} {
		for partition := range int32(50) {
			owners := 0
			for i := range 3 {
				if (Share{i, 3}).mine(topic, partition) {
					owners++
				}
			}
			if owners != 1 {
				t.Errorf("%s/%d belongs to %d of 3", topic, partition, owners)
			}
		}
	}
}

func TestPatternFindsTopics(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(1, "imgs-a", "other"))
	o := options(c)
	o.Pattern = "imgs-.*"
	s := openSession(t, newSource(t, o), ingest.Progress{})
	client := producer(t, c, kgo.UnknownTopicRetries(-1))
	want := produce(t, client, "imgs-a", 0, 2)
	produce(t, client, "other", 0, 2)
	s.samples(2)
	if err := c.CreateTopic("imgs-b", 2, nil); err != nil {
		t.Fatal(err)
	}
	want = append(want, produce(t, client, "imgs-b", 1, 3)...)
	if got := valuesOf(s.samples(5)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSplitSource(t *testing.T) {
	cluster, topic, id, ok := splitSource(sourceOf("c", "t.x", "-"))
	if !ok || cluster != "c" || topic != "t.x" || id != "-" {
		t.Errorf("got %q %q %q %v", cluster, topic, id, ok)
	}
	for _, bad := range []string{"", "kafka:", "kafka:a/b", "sha256:a/b/c", "kafka:a/b/c/d"} {
		if _, _, _, ok := splitSource(bad); ok {
			t.Errorf("%q is taken for a source", bad)
		}
	}
	if !errors.Is(&LossError{}, ErrDataLoss) {
		t.Error("LossError is no ErrDataLoss")
	}
}
