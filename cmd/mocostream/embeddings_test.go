package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mocostream/internal/s3server"
	"mocostream/internal/standin"
	"mocostream/internal/synth"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/twmb/franz-go/pkg/kgo"
)

// sent is the features that were sent: how often for each id, which names image and version, and the ids of each key.
type sent struct {
	times map[string]int
	byKey map[string]map[string]bool
}

func newSent() sent { return sent{map[string]int{}, map[string]map[string]bool{}} }

func (s sent) add(t *testing.T, id, key, version string, features int) {
	t.Helper()
	if !strings.HasSuffix(id, "@"+version) || !strings.HasPrefix(version, "step-") || features != 32 { // 8 x width
		t.Errorf("%s: %s by version %q, %d features", key, id, version, features)
	}
	s.times[id]++
	if s.byKey[key] == nil {
		s.byKey[key] = map[string]bool{}
	}
	s.byKey[key][id] = true
}

// missing names the first of the images from..to of which no features were sent; "" if none is missing.
func (s sent) missing(from, to int) string {
	for i := from; i < to; i++ {
		if key := fmt.Sprintf("image-%06d", i); len(s.byKey[key]) == 0 {
			return key
		}
	}
	return ""
}

// parts reads what lies in the folder of embeddings.
func parts(t *testing.T, runDir string) sent {
	t.Helper()
	all := newSent()
	paths, err := filepath.Glob(filepath.Join(runDir, "embeddings", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		r, err := file.OpenParquetFile(path, false)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		table, err := reader.ReadTable(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows := array.NewTableReader(table, 0)
		for rows.Next() {
			rec := rows.Record()
			vectors := rec.Column(4).(*array.FixedSizeList)
			for i := range int(rec.NumRows()) {
				text := func(column int) string { return rec.Column(column).(*array.String).Value(i) }
				start, end := vectors.ValueOffsets(i)
				all.add(t, text(0), text(1), text(3), int(end-start))
			}
		}
		rows.Release()
		table.Release()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// embedding are the settings of an online run that publishes every second step.
func embedding(b *standin.Broker, dir string, set ...string) []string {
	return append(online(b, dir, "sink.publish.every=2", "sink.publish.min_spread=0", "sink.embeddings.every=1s", "sink.embeddings.to=parquet"), set...)
}

// Features of all that comes in once an encoder is published are sent, those of what a killed process had not sent too.
func TestEmbeddingsToParquet(t *testing.T) {
	b := broker(t, 32)
	dir := filepath.Join(t.TempDir(), "run")
	settings := embedding(b, dir)
	d := startDaemon(t, dir, settings)
	d.await(`"version":"step-000000002"`)
	produceImages(t, b, 32, 80)
	d.until("features of 32..79 are there", func() bool { return parts(t, dir).missing(32, 80) == "" })
	produceImages(t, b, 80, 400)
	d.await(`"version":"step-000000012"`) // so that the checkpoint of step 10 is behind, and most of the features are not sent
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := d.wait(); err == nil {
		t.Fatal("killed, it ended well")
	}
	d = startDaemon(t, dir, settings)
	d.await("going on from checkpoint")
	d.await("published the encoder")
	d.until("features of 32..399 are there", func() bool { return parts(t, dir).missing(32, 400) == "" })
	produceImages(t, b, 400, 408) // whose step has a checkpoint after what was sent
	d.until("all is trained on", func() bool { _, body := d.get("/status"); return strings.Contains(body, `"step":51`) })
	d.until("features of 400..407 are there", func() bool { return parts(t, dir).missing(400, 408) == "" })
	d.ctl("checkpoint").want(t, exitOK)
	d.stop(syscall.SIGTERM)
	d = startDaemon(t, dir, settings) // what was sent before a checkpoint is not sent again
	before := parts(t, dir)
	produceImages(t, b, 408, 416)
	d.until("features of 408..415 are there", func() bool { return parts(t, dir).missing(408, 416) == "" })
	d.stop(syscall.SIGTERM)
	after := parts(t, dir)
	for i := range 400 {
		for id := range before.byKey[fmt.Sprintf("image-%06d", i)] {
			if after.times[id] != before.times[id] {
				t.Errorf("%s was sent %d times before and %d times after a good end", id, before.times[id], after.times[id])
			}
		}
	}
	if n := len(after.byKey); n > 416 {
		t.Errorf("features of %d images", n)
	}
	wholeLedger(t, dir, 416)
}

// A broker that is away holds no training up, and what could not be sent is sent once it is back.
func TestEmbeddingsToTopic(t *testing.T) {
	b := broker(t, 32)
	folder := t.TempDir()
	out, err := standin.StartBroker(folder, "embedded", 2)
	if err != nil {
		t.Fatal(err)
	}
	address := out.Address()
	dir := filepath.Join(t.TempDir(), "run")
	d := startDaemon(t, dir, embedding(b, dir, "sink.embeddings.to=topic", "sink.embeddings.topic=embedded", "sink.kafka.brokers=["+address+"]"))
	d.await(`"version":"step-000000002"`)
	produceImages(t, b, 32, 64)
	awaitTopic(t, d, address, 32, 64)
	out.Close()
	produceImages(t, b, 64, 96)
	d.until("12 steps are done", func() bool { _, body := d.get("/status"); return strings.Contains(body, `"step":12`) })
	d.await("brokers do not take it")
	if out, err = standin.StartBroker(folder, "embedded", 2); err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if out.Address() != address {
		t.Skipf("the broker came back at %s and not at %s", out.Address(), address)
	}
	awaitTopic(t, d, address, 32, 96)
	d.stop(syscall.SIGTERM)
	wholeLedger(t, dir, 96)
}

// awaitTopic reads the topic until features of the images from..to are there.
func awaitTopic(t *testing.T, d *daemon, address string, from, to int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics("embedded"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	all := newSent()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for all.missing(from, to) != "" {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("no features of %s:\n%s", all.missing(from, to), d.said())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var v struct {
				Key, Version string
				Embedding    []float32
			}
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatal(err)
			}
			all.add(t, string(r.Key), v.Key, v.Version, len(v.Embedding))
		})
	}
}

// encoded is the i-th of the images that produceImages sends.
func encoded(t *testing.T, i int) []byte {
	t.Helper()
	picture, _ := synth.Image(synth.Options{Classes: 2, Images: 1000, Size: 32, Seed: 5}, i)
	var content bytes.Buffer
	if err := jpeg.Encode(&content, picture, nil); err != nil {
		t.Fatal(err)
	}
	return content.Bytes()
}

// Two readers of a followed prefix, one for training and one for features, each read all of it, also after a kill.
func TestEmbeddingsOfFollowedPrefix(t *testing.T) {
	server, url := bucketServer(t, s3server.Options{})
	put := func(from, to int) {
		photos := t.TempDir()
		for i := from; i < to; i++ {
			write(t, filepath.Join(photos, fmt.Sprintf("image-%06d", i)+".jpg"), encoded(t, i))
		}
		uploadFolder(t, server, "photos", "in/", photos)
	}
	put(0, 32)
	dir := filepath.Join(t.TempDir(), "run")
	b := broker(t, 0)
	settings := append(embedding(b, dir)[3:], append(bucketAccess("ingest.s3", url), "ingest.s3.url=s3://photos/in/", "ingest.s3.follow=true",
		"ingest.s3.follow_every=200ms")...)
	all := func(from, to int) func() bool {
		return func() bool {
			got := newSent()
			for key, ids := range parts(t, dir).byKey {
				got.byKey[strings.TrimSuffix(strings.TrimPrefix(key, "in/"), ".jpg")] = ids
			}
			return got.missing(from, to) == ""
		}
	}
	d := startDaemon(t, dir, settings)
	d.await(`"version":"step-000000002"`)
	put(32, 160)
	d.until("step 16 is done", func() bool { return strings.Contains(d.said(), `"version":"step-000000016"`) })
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.wait() // killed
	d = startDaemon(t, dir, settings)
	d.until("features of 32..159 are there", all(32, 160))
	put(160, 192)
	d.until("features of 160..191 are there", all(160, 192))
	d.until("24 steps are done", func() bool { return strings.Contains(d.said(), `"version":"step-000000024"`) })
	d.stop(syscall.SIGTERM)
	wholeLedger(t, dir, 192)
	if _, err := os.Stat(filepath.Join(dir, "exports", "latest", "model.safetensors")); err != nil {
		t.Error(err)
	}
}
