package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// transact writes n records in one transaction and returns their values if it is committed.
func transact(t *testing.T, client *kgo.Client, topic string, n int, commit kgo.TransactionEndTry) []string {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	values := produce(t, client, topic, 0, n)
	if err := client.EndTransaction(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	if commit {
		return values
	}
	return nil
}

func TestTransactions(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(1, "imgs"))
	a, b := producer(t, c, kgo.TransactionalID("a")), producer(t, c, kgo.TransactionalID("b"))
	want := transact(t, a, "imgs", 3, kgo.TryCommit)
	for range 10 { // a stretch without any record
		transact(t, a, "imgs", 2, kgo.TryAbort)
	}
	// two producers take turns, one aborts
	for _, client := range []*kgo.Client{a, b} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	var mixed []string
	for range 3 {
		produce(t, a, "imgs", 0, 1)
		mixed = append(mixed, produce(t, b, "imgs", 0, 2)...)
	}
	for _, end := range []struct {
		client *kgo.Client
		how    kgo.TransactionEndTry
	}{{a, kgo.TryAbort}, {b, kgo.TryCommit}} {
		if err := end.client.EndTransaction(t.Context(), end.how); err != nil {
			t.Fatal(err)
		}
	}
	want = append(append(want, mixed...), transact(t, a, "imgs", 2, kgo.TryCommit)...)
	transact(t, b, "imgs", 2, kgo.TryAbort)

	source := newSource(t, options(c, "imgs"))
	s := openSession(t, source, ingest.Progress{})
	end := c.PartitionInfo("imgs", 0).HighWatermark
	s.reaches(sourceName(t, c, "imgs"), 0, end)
	if got := valuesOf(s.got); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	stats := source.Stats().Partitions[0]
	if stats.Aborted != 25 || stats.Lag != 0 || !stats.Waiting || stats.Position != end || stats.Records != int64(len(want)) {
		t.Errorf("stats are %+v, want 25 aborted, no lag, position %d", stats, end)
	}
	if err := b.BeginTransaction(); err != nil { // records not decided yet are not given
		t.Fatal(err)
	}
	open := produce(t, b, "imgs", 0, 2)
	if err := b.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got := valuesOf(s.samples(len(want) + 2)); !slices.Equal(got[len(want):], open) {
		t.Errorf("got %q, want %q", got[len(want):], open)
	}
}

func TestCompaction(t *testing.T) {
	c := startCluster(t)
	if err := c.CreateTopic("imgs", 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	client := producer(t, c)
	first := produce(t, client, "imgs", 0, 10) // k0..k9
	second := produce(t, client, "imgs", 0, 5) // k0..k4 again
	last := produce(t, client, "imgs", 0, 1)   // the active segment is not compacted
	c.Compact()
	o := options(c, "imgs")
	o.FetchBytes = 200 // less than a batch
	s := openSession(t, newSource(t, o), ingest.Progress{})
	s.reaches(sourceName(t, c, "imgs"), 0, 16)
	got := valuesOf(s.got)
	for _, value := range got {
		if !slices.Contains(slices.Concat(first, second, last), value) {
			t.Errorf("%q was never written", value)
		}
	}
	for _, value := range slices.Concat(first[5:], last) {
		if !slices.Contains(got, value) {
			t.Errorf("%q is missing", value)
		}
	}
	if len(got) >= 16 {
		t.Error("nothing was compacted away")
	}
}

func TestPartitionAdded(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(2, "imgs"))
	o := options(c, "imgs")
	o.Start = Start{At: StartLatest}
	client := producer(t, c)
	produce(t, client, "imgs", 1, 2)
	s := openSession(t, newSource(t, o), ingest.Progress{})
	want := produce(t, client, "imgs", 1, 1)
	s.samples(1)
	req := kmsg.NewPtrCreatePartitionsRequest()
	more := kmsg.NewCreatePartitionsRequestTopic()
	more.Topic, more.Count = "imgs", 4
	req.Topics, req.TimeoutMillis = append(req.Topics, more), 1000
	if _, err := req.RequestWith(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	fresh := producer(t, c)
	want = append(want, produce(t, fresh, "imgs", 3, 3)...) // before they are seen: read from their start
	if got := valuesOf(s.samples(4)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// corrupt serves a batch with a flipped byte for the fetches of offset 0, times times.
func corrupt(t *testing.T, c *kfake.Cluster, times int) {
	t.Helper()
	all := rawBatches(t, c, "imgs")
	_, rest, err := nextBatch(all)
	if err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(all[:len(all)-len(rest)])
	bad[len(bad)-3] ^= 0x10
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fetch := req.(*kmsg.FetchRequest)
		if len(fetch.Topics) == 0 || fetch.Topics[0].Partitions[0].FetchOffset != 0 || times == 0 {
			c.KeepControl()
			return nil, nil, false
		}
		times--
		c.KeepControl()
		return fetchAnswer(fetch, bad, 5), nil, true
	})
}

// rawBatches returns the first batches of partition 0.
func rawBatches(t *testing.T, c *kfake.Cluster, topic string) []byte {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.SessionEpoch = 1<<20, -1
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rt.TopicID, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = topic, c.TopicInfo(topic).TopicID, 1<<20, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	res, err := client.Broker(0).RetriableRequest(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches
}

func TestFlippedByteInFlight(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(1, "imgs"))
	want := produce(t, producer(t, c), "imgs", 0, 5)
	corrupt(t, c, 2)
	source := newSource(t, options(c, "imgs"))
	s := openSession(t, source, ingest.Progress{})
	if got := valuesOf(s.samples(5)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := source.Stats().Partitions[0].CRCErrors; n != 2 {
		t.Errorf("%d CRC errors, want 2", n)
	}
}

func TestDamagedBatch(t *testing.T) {
	policies(t, func(t *testing.T, o Options, c *kfake.Cluster, told *warnings) {
		client := producer(t, c)
		produce(t, client, "imgs", 0, 5)
		want := produce(t, client, "imgs", 0, 2)
		corrupt(t, c, -1)
		s := openSession(t, newSource(t, o), ingest.Progress{})
		if o.OnDataLoss == LossStop {
			lossSays(t, s.fails(), "lost offsets 0 to 4", "checksum does not match")
			return
		}
		if got := valuesOf(s.samples(2)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if gap := s.token.Streams[s.got[0].Source][0].FirstGap(0); gap != 7 {
			t.Errorf("first gap is %d, want 7", gap)
		}
	})
}

func TestLeadersMove(t *testing.T) {
	c := startCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(4, "imgs"))
	client := producer(t, c)
	source := newSource(t, options(c, "imgs"))
	s := openSession(t, source, ingest.Progress{})
	var want []string
	for round := range 6 {
		for p := range int32(4) {
			want = append(want, produce(t, client, "imgs", p, 5)...)
		}
		s.samples(20 * (round + 1))
		c.ShufflePartitionLeaders()
	}
	got := valuesOf(s.got)
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Error("other values came than were written")
	}
}

func TestBrokerRestarts(t *testing.T) {
	dir, told := t.TempDir(), &warnings{}
	port := freePort(t)
	run := func() *kfake.Cluster {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "imgs"), kfake.DataDir(dir), kfake.Ports(port))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := run()
	o := options(c, "imgs")
	o.Warn = told.add
	source := newSource(t, o)
	before := producer(t, c)
	produce(t, before, "imgs", 0, 3)
	before.Close()
	s := openSession(t, source, ingest.Progress{})
	s.samples(3)
	c.Close()
	s.waits("cannot be read now", told)
	if stats := source.Stats().Partitions[0]; stats.Trouble == "" {
		t.Errorf("stats are %+v, want trouble", stats)
	}
	c = run()
	defer c.Close()
	after := producer(t, c)
	produce(t, after, "imgs", 0, 2)
	s.samples(5)
	s.waits("can be read again", told) // it is told once what was read is handed out
	if stats := source.Stats().Partitions[0]; stats.Reconnects == 0 || stats.Trouble != "" {
		t.Errorf("stats are %+v, want reconnects and no trouble", stats)
	}
	s.reader.Close()
	after.Close()
}

// waits lets Next wait for records that do not come until a person is told text.
func (s *session) waits(text string, told *warnings) {
	s.t.Helper()
	for !told.has(text) {
		ctx, cancel := context.WithTimeout(s.t.Context(), 50*time.Millisecond)
		if err := s.next(ctx); err != nil && ctx.Err() == nil {
			s.t.Fatal(err)
		}
		cancel()
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestResumeAnywhere kills readers at random moments and resumes each from what its consumer had then.
func TestResumeAnywhere(t *testing.T) {
	c := startCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(3, "imgs"))
	client := producer(t, c)
	var want []string
	for p := range int32(3) {
		for range 10 {
			want = append(want, produce(t, client, "imgs", p, 7)...)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var done ingest.Progress
	var state []byte
	var got []string
	for round := 0; len(got) < len(want); round++ {
		if round > 500 {
			t.Fatalf("%d of %d samples after %d resumes", len(got), len(want), round)
		}
		o := options(c, "imgs")
		o.State, o.FetchBytes = state, 300
		source := newSource(t, o)
		s := openSession(t, source, done)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(30))*time.Millisecond)
		for s.next(ctx) == nil {
		}
		cancel()
		s.reader.Close()
		done, got = s.token, append(got, valuesOf(s.got)...)
		var err error
		if state, err = source.Seal(done); err != nil {
			t.Fatal(err)
		}
		if round%10 == 0 {
			c.ShufflePartitionLeaders()
		}
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("got %d samples, want %d", len(got), len(want))
	}
}

// TestCloseAnytime closes a reader while it works, with nobody in Next.
func TestCloseAnytime(t *testing.T) {
	for _, merge := range []MergeOrder{MergeArrival, MergeDeterministic} {
		t.Run(string(merge), func(t *testing.T) {
			c := startCluster(t, kfake.SeedTopics(4, "imgs"))
			client := producer(t, c)
			for p := range int32(4) {
				produce(t, client, "imgs", p, 100)
			}
			o := options(c, "imgs")
			o.Merge, o.FetchBytes = merge, 500
			source := newSource(t, o)
			for i := range 20 {
				s := openSession(t, source, ingest.Progress{})
				if i%2 == 0 {
					s.until("a sample", func() bool { return len(s.got) > i })
				}
				if err := s.reader.Close(); err != nil {
					t.Fatal(err)
				}
				if held := source.Stats().HeldBytes; held != 0 {
					t.Fatalf("%d bytes are still held", held)
				}
			}
		})
	}
}

func TestOverload(t *testing.T) {
	tests := map[string]struct {
		overload Overload
		least    int64 // samples
		most     int64
	}{
		"lag":    {Overload{Mode: OverloadLag}, 1000, 1000},
		"sample": {Overload{Mode: OverloadSample, MaxLag: 100, Keep: 0.25}, 100 + 170, 100 + 280},
		"jump":   {Overload{Mode: OverloadJump, MaxLag: 100, JumpTo: 30}, 30, 30},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, kfake.SeedTopics(1, "imgs"))
			client := producer(t, c)
			for range 10 {
				produce(t, client, "imgs", 0, 100)
			}
			o, told := options(c, "imgs"), &warnings{}
			o.Overload, o.Warn = test.overload, told.add
			source := newSource(t, o)
			s := openSession(t, source, ingest.Progress{})
			s.reaches(sourceName(t, c, "imgs"), 0, 1000)
			stats := source.Stats().Partitions[0]
			if n := int64(len(s.got)); n < test.least || n > test.most || stats.Shed != 1000-n || stats.Lost != 0 {
				t.Errorf("%d samples, shed %d, lost %d", n, stats.Shed, stats.Lost)
			}
			if shed := stats.Shed > 0; shed != told.has("leaving records out from offset 0") || shed != (len(stats.ShedSpans) > 0) {
				t.Errorf("shed %d, told %q, ranges %v", stats.Shed, told.all, stats.ShedSpans)
			}
			if last := s.got[len(s.got)-1]; last.Offset != 999 {
				t.Errorf("last sample is %v", last)
			}
		})
	}
}

func TestDecoderErrorEnds(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(1, "imgs"))
	produce(t, producer(t, c), "imgs", 0, 3)
	o := options(c, "imgs")
	o.Decoder = failingDecoder{at: 2}
	s := openSession(t, newSource(t, o), ingest.Progress{})
	err := s.fails()
	if want := `decode kafka topic "imgs" partition 0 offset 2: no such bucket`; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("Next: %v, want %q", err, want)
	}
}

// failingDecoder fails at an offset.
type failingDecoder struct{ at int64 }

func (d failingDecoder) Append(ctx context.Context, b *ingest.Builder, row ingest.Row, r *record) (int32, error) {
	if r.Offset == d.at {
		return 0, errors.New("no such bucket")
	}
	return plainDecoder{}.Append(ctx, b, row, r)
}
