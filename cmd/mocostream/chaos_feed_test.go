//go:build integration

package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mocostream/internal/s3server"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// numbered is image i: 8 x 8 pixels that no other number has.
func numbered(t testing.TB, i int) []byte {
	t.Helper()
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(i)*0x9e3779b97f4a7c15+1)
	m := image.NewRGBA(image.Rect(0, 0, 8, 8))
	for p := range 64 {
		m.SetRGBA(p%8, p/8, color.RGBA{R: seed[p%8], G: seed[p/8] + byte(p), B: byte(i >> (p % 16)), A: 255})
	}
	var out bytes.Buffer
	if err := png.Encode(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// topicFeed is a topic in this process, which outlives those that read it.
type topicFeed struct {
	cluster *kfake.Cluster
	client  *kgo.Client
	next    int // number of the next image
}

const chaosTopic = "numbers"

func newTopicFeed(t testing.TB, partitions int32, config map[string]string) *topicFeed {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.CreateTopic(chaosTopic, partitions, config); err != nil {
		t.Fatal(err)
	}
	f := &topicFeed{cluster: c}
	f.client = f.producer(t)
	return f
}

func (f *topicFeed) producer(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(f.cluster.ListenAddrs()...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// records are the next n images, over partitions from <= p < to in turn.
func (f *topicFeed) records(t testing.TB, n int, from, to int32) []*kgo.Record {
	t.Helper()
	all := make([]*kgo.Record, n)
	for i := range all {
		all[i] = &kgo.Record{
			Topic: chaosTopic, Partition: from + int32(f.next)%(to-from),
			Key: fmt.Appendf(nil, "%d", f.next), Value: numbered(t, f.next),
		}
		f.next++
	}
	return all
}

func (f *topicFeed) produce(t testing.TB, n int, from, to int32) {
	t.Helper()
	if err := f.client.ProduceSync(t.Context(), f.records(t, n, from, to)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// transact produces n images in a transaction; an aborted one leaves records in the log that are no samples.
func (f *topicFeed) transact(t testing.TB, n int, to int32, commit bool) {
	t.Helper()
	client := f.producer(t, kgo.TransactionalID(fmt.Sprintf("chaos-%d", f.next)))
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), f.records(t, n, 0, to)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
		t.Fatal(err)
	}
	client.Close()
}

// widen gives the topic so many partitions.
func (f *topicFeed) widen(t testing.TB, to int32) {
	t.Helper()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = chaosTopic, to
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(t.Context(), f.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.client = f.producer(t) // the one before knows the topic as it was
}

// truncate deletes what lies before an offset of a partition, as retention does.
func (f *topicFeed) truncate(t testing.TB, partition int32, before int64) {
	t.Helper()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, before
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic, topic.Partitions = chaosTopic, append(topic.Partitions, p)
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(t.Context(), f.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sets are the configuration that reads the topic.
func (f *topicFeed) sets() []string {
	return []string{
		fmt.Sprintf("ingest.kafka.brokers=[%q]", f.cluster.ListenAddrs()[0]), "ingest.kafka.topics=[" + chaosTopic + "]",
		"ingest.kafka.group=chaos", "ingest.kafka.metadata_every=200ms", "ingest.kafka.timeout=2s",
	}
}

// bucketFeed is a store in this process with the images as shards, and room for checkpoints.
type bucketFeed struct {
	server *s3server.Server
	url    string
}

const (
	chaosBucket    = "chaos"
	checkpointsURL = "s3://" + chaosBucket + "/run"
)

func newBucketFeed(t testing.TB, o s3server.Options) *bucketFeed {
	t.Helper()
	s := s3server.New(o)
	url, err := s.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.Put(chaosBucket, "README", []byte("numbered images, and a run that learns from them")) // the bucket must exist
	return &bucketFeed{server: s, url: url}
}

// shards puts n images into shards of so many.
func (f *bucketFeed) shards(t testing.TB, n, each int) {
	t.Helper()
	for first := 0; first < n; first += each {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i := first; i < min(first+each, n); i++ {
			data := numbered(t, i)
			if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%06d.png", i), Mode: 0o644, Size: int64(len(data))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f.server.Put(chaosBucket, fmt.Sprintf("train/%03d.tar", first/each), b.Bytes())
	}
}

// access is how section (ingest.s3, sink.s3) reaches the store.
func (f *bucketFeed) access(section string) []string {
	return []string{section + ".endpoint=" + f.url, section + ".path_style=true", section + ".access_key=key", section + ".secret_key=secret"}
}

func (f *bucketFeed) sets() []string {
	return append(f.access("ingest.s3"), "ingest.s3.url=s3://"+chaosBucket+"/train/")
}

func (f *bucketFeed) checkpoints() []string {
	return append(f.access("sink.s3"), "sink.s3.url="+checkpointsURL, "sink.s3.lease=2s")
}

// image puts image i beside the shards, below a prefix of its own.
func (f *bucketFeed) image(t testing.TB, i int) {
	f.server.Put(chaosBucket, fmt.Sprintf("images/%03d/%06d.png", i%97, i), numbered(t, i))
}

// followed is the configuration that watches those.
func (f *bucketFeed) followed() []string {
	return append(f.access("ingest.s3"), "ingest.s3.url=s3://"+chaosBucket+"/images/", "ingest.s3.follow=true",
		"ingest.s3.follow_every=200ms")
}

// folderFeed is a folder of n images.
func folderFeed(t testing.TB, n int) []string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.png", i)), numbered(t, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"ingest.dir=" + dir}
}
