package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/internal/s3server"
	"mocostream/internal/standin"
	"mocostream/sink"
)

// Credentials of the stand-in bucket.
const (
	bucketKey    = "AKIASTANDIN"
	bucketSecret = "secret-of-the-stand-in-bucket"
)

// bucketServer is a stand-in object store that answers bucketKey alone.
func bucketServer(t *testing.T, o s3server.Options) (server *s3server.Server, url string) {
	t.Helper()
	if o.AccessKey == "" {
		o.AccessKey = bucketKey
	}
	server = s3server.New(o)
	url, err := server.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() }) // never fails
	return server, url
}

// bucketAccess are the settings of a section that reach the server.
func bucketAccess(section, url string) []string {
	return []string{
		section + ".endpoint=" + url, section + ".path_style=true", section + ".region=us-east-1",
		section + ".access_key=" + bucketKey, section + ".secret_key=" + bucketSecret,
	}
}

// uploadFolder puts the files of a folder below a prefix.
func uploadFolder(t *testing.T, s *s3server.Server, bucket, prefix, dir string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			s.Put(bucket, prefix+path, read(t, filepath.Join(dir, path)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// killedAt kills a run after so many steps of each of its processes, lets it go on, and compares the end with whole.
func killedAt(t *testing.T, whole string, set []string, steps ...int) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	for _, n := range steps {
		p := start(t, nil, followed(tiny(dir, set...))...)
		if step, ok := p.await(t, n); !ok {
			t.Fatalf("ended after step %d:\n%s", step, p.stderr())
		}
		kill(t, p)
	}
	program(t, tiny(dir, set...)...).want(t, exitOK, "going on from checkpoint")
	sameRun(t, whole, dir)
}

// A bucket of images, good and bad, and one of the same as shards: killed and gone on with other workers, a run ends in
// the bits of the one that nobody disturbed. An object that comes later changes nothing.
func TestSameBitsFromBuckets(t *testing.T) {
	for name, local := range map[string]func(*testing.T) []string{"images": badFolder, "shards": badShards} {
		t.Run(name, func(t *testing.T) {
			server, url := bucketServer(t, s3server.Options{})
			set := local(t)
			_, from, _ := strings.Cut(set[0], "=")
			if name == "shards" {
				from = filepath.Dir(from)
			}
			uploadFolder(t, server, "photos", "train/", from)
			set = append(append(set[1:], "ingest.s3.url=s3://photos/train/"), bucketAccess("ingest.s3", url)...)
			whole := filepath.Join(t.TempDir(), "whole")
			program(t, tiny(whole, set...)...).want(t, exitOK)
			checkHistory(t, whole)
			dir := filepath.Join(t.TempDir(), "run")
			p := start(t, nil, followed(tiny(dir, append(set, "loader.workers=1", "loader.fetchers=2")...))...)
			if _, ok := p.await(t, 17); !ok {
				t.Fatalf("ended before step 17:\n%s", p.stderr())
			}
			kill(t, p)
			late := server.Keys("photos")[0]
			data, _ := server.Get("photos", late)
			server.Put("photos", strings.Replace(late, "train/", "train/0-late-", 1), data)
			program(t, tiny(dir, append(set, "loader.workers=3", "loader.fetchers=5")...)...).want(t, exitOK, "going on from checkpoint")
			sameRun(t, whole, dir)
		})
	}
}

// fromBroker are the settings of a source of the topic, whose order is a function of its messages.
func fromBroker(b *standin.Broker, set ...string) []string {
	return append([]string{
		"ingest.kafka.brokers=[" + b.Address() + "]", "ingest.kafka.topics=[images]", "ingest.kafka.merge=deterministic",
	}, set...)
}

// wholeAndKilled wants a run that is killed after so many steps of each process to be like one that is not.
func wholeAndKilled(t *testing.T, set []string, steps ...int) {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "whole")
	program(t, tiny(whole, set...)...).want(t, exitOK)
	if n := len(history(t, whole)); n != 40 {
		t.Fatalf("%d lines of metrics", n)
	}
	killedAt(t, whole, set, steps...)
}

func TestSameBitsFromKafka(t *testing.T) {
	b := broker(t, 320)
	wholeAndKilled(t, fromBroker(b), 3, 17, 8)
}

// One pass over a folder and then the topic, killed in the folder, in the batch between, and in the topic.
func TestSameBitsFromSequence(t *testing.T) {
	b := broker(t, 320)
	set := fromBroker(b, "ingest.sequence=[dir, kafka]", "ingest.dir="+images(t, 92, 3))
	wholeAndKilled(t, set, 7, 7, 9)
}

// Messages that come again, near and far, are passed over, also when they came first before a kill; the ledger knows them.
func TestSameBitsWithoutRepeats(t *testing.T) {
	b := broker(t, 120)
	produceImages(t, b, 40, 200)
	produceImages(t, b, 0, 420) // of 700 messages 420 are new
	set := fromBroker(b, "loader.dedupe=key", "loader.dedupe_window=1000", "sink.ledger=true")
	whole := filepath.Join(t.TempDir(), "whole")
	program(t, tiny(whole, set...)...).want(t, exitOK)
	wholeLedger(t, whole, 320)
	ck, err := sink.Read(filepath.Join(whole, "step-000000040"))
	if err != nil {
		t.Fatal(err)
	}
	for source, partitions := range ck.Token.Progress.Streams {
		for partition, done := range partitions { // 120 new, 80 known and 80 new, 200 known and 120 new, in four partitions
			if n := done.Len(); n != 150 {
				t.Errorf("%s partition %d: %d messages are consumed by 320 samples, want 150", source, partition, n)
			}
		}
	}
	killedAt(t, whole, set, 7, 16, 9)
}

// Batches drawn from a buffer: killed while it fills, runs ahead and evicts, the run draws what it would have drawn, and
// every sample goes into the buffer once.
func TestSameBitsWithReplay(t *testing.T) {
	b := broker(t, 400)
	for _, policy := range []string{"min_redundancy", "balanced"} {
		t.Run(policy, func(t *testing.T) {
			set := fromBroker(b, "loader.replay.policy="+policy, "loader.replay.size=64", "loader.replay.updates_per_sample=1.5",
				"loader.replay.fresh=0.2", "loader.replay.per_source_batch=2", "ingest.source=partition", "sink.ledger=true")
			whole := filepath.Join(t.TempDir(), "whole")
			program(t, tiny(whole, set...)...).want(t, exitOK, "filling the replay buffer")
			wholeLedger(t, whole, 320)
			ck, err := sink.Read(filepath.Join(whole, "step-000000040"))
			if err != nil {
				t.Fatal(err)
			}
			if n := ck.Token.Admitted; n != 32+319*2/3 || ck.Token.Position != 320 {
				t.Errorf("%d samples are admitted for %d draws", n, ck.Token.Position)
			}
			killedAt(t, whole, set, 2, 17, 8)
		})
	}
}

// A folder with bad images, epoch after epoch, through a buffer: each bad one is a dead letter once an admission.
func TestSameBitsWithReplayOfFolder(t *testing.T) {
	set := append(badFolder(t), "loader.replay.policy=random", "loader.replay.size=50", "loader.replay.updates_per_sample=2")
	whole := filepath.Join(t.TempDir(), "whole")
	program(t, tiny(whole, set...)...).want(t, exitOK)
	if letters := jsonLines(t, filepath.Join(whole, "dead-letters.jsonl")); len(letters) < 3 || len(letters) > 8 {
		t.Errorf("%d dead letters of 3 bad images in less than 3 epochs", len(letters))
	}
	killedAt(t, whole, set, 5, 18)
}
