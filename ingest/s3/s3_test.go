package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/ingest/internal/shard"
	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

func TestImagesConform(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	ingesttest.TestBounded(t, func(t *testing.T) (ingest.Bounded, []ingesttest.Sample) {
		labels := map[string]*int32{
			"cat-x/1.jpg": new(int32(1)), "cat/1.JPG": new(int32(0)), "cat/deep/2 +ü.png": new(int32(0)),
			"dog/a.jpeg": new(int32(2)), "root.webp": nil, "zero.png": nil,
		}
		for name := range labels {
			b.Put(testBucket, "set/"+name, picture(name, 1000*len(name)))
		}
		b.Put(testBucket, "set/zero.png", nil)
		for _, name := range []string{"set/notes.txt", "set/.hidden/1.jpg", "set/cat/.2.jpg", "set/cat/", "setting/1.jpg", "set/x.tar"} {
			b.Put(testBucket, name, []byte("no image"))
		}
		client := b.client(t)
		s := source(t, b, Options{Client: client, Prefix: "set", Labels: true, Kind: KindImages})
		m, err := s.Manifest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var want []ingesttest.Sample
		for i, name := range []string{"cat-x/1.jpg", "cat/1.JPG", "cat/deep/2 +ü.png", "dog/a.jpeg", "root.webp", "zero.png"} {
			w := ingesttest.Sample{Image: picture(name, 1000*len(name))}
			w.ID = ingest.ID{Source: m.Hash(), Partition: int32(i)}
			w.Key, w.Label = "set/"+name, labels[name]
			if name == "zero.png" {
				w.Image = nil
			}
			want = append(want, w)
		}
		if got, err := s.Classes(t.Context()); err != nil || !slices.Equal(got, []string{"cat", "cat-x", "dog"}) {
			t.Errorf("classes are %v, %v", got, err)
		}
		client.Close()
		return tidy{s, client}, want
	})
}

// Shards are read whole, by one request, and by several at a time, which has to be the same.
func TestShardsConform(t *testing.T) {
	for name, make := range map[string]func(t testing.TB, name string, n, size int) []byte{"tar": tarOf, "parquet": parquetOf} {
		for reading, partSize := range map[string]int64{"whole": 1 << 20, "parts": 20 << 10} {
			t.Run(name+" "+reading, func(t *testing.T) {
				b := newBucket(t, s3server.Options{})
				ingesttest.TestBounded(t, func(t *testing.T) (ingest.Bounded, []ingesttest.Sample) {
					for i, n := range []int{12, 1, 5} {
						b.Put(testBucket, fmt.Sprintf("s/%d.%s", i, name), make(t, fmt.Sprint(i), n, 5000))
					}
					client := b.client(t)
					s := source(t, b, Options{Client: client, Prefix: "s/", Labels: true, PartSize: partSize, Parallel: 3})
					m, err := s.Manifest(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					var want []ingesttest.Sample
					for i, n := range []int{12, 1, 5} {
						want = append(want, samplesOf(ingest.ID{Source: m.Hash(), Partition: int32(i)}, fmt.Sprint(i), n, 5000)...)
					}
					client.Close()
					return tidy{s, client}, want
				})
			})
		}
	}
}

func TestScopes(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	for _, key := range []string{"a/train-1.tar", "a/train-2.tar", "a/val-1.tar", "a/train-1.jpg", "b/1.png", "top.jpg"} {
		content := []byte("image")
		if strings.HasSuffix(key, ".tar") {
			content = tarOf(t, "x", 2, 10)
		}
		b.Put(testBucket, key, content)
	}
	for _, test := range []struct{ prefix, kind, want string }{
		{"", "", "a/train-1.jpg a/train-1.tar a/train-2.tar a/val-1.tar b/1.png top.jpg"},
		{"", KindImages, "a/train-1.jpg b/1.png top.jpg"},
		{"a/train-*", KindShards, "train-1.tar train-2.tar"},
		{"a/val-1.tar", "", "val-1.tar"},
		{"top.jpg", "", "top.jpg"},
		{"b", "", "1.png"},
	} {
		m, err := source(t, b, Options{Prefix: test.prefix, Kind: test.kind}).Manifest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for p, err := range m.All() {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%q lists %s, want %s", test.prefix, got, test.want)
		}
	}
}

func TestOptions(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	good := Options{Client: b.client(t), Bucket: testBucket, ManifestDir: t.TempDir()}
	for want, change := range map[string]func(*Options){
		"set ingest.s3.url":       func(o *Options) { o.Bucket = "" },
		"its manifest":            func(o *Options) { o.ManifestDir = "" },
		"largest image":           func(o *Options) { o.MaxBytes = 2 << 30 },
		"set ingest.s3.kind":      func(o *Options) { o.Kind = "videos" },
		"set ingest.s3.on_change": func(o *Options) { o.OnChange = "cry" },
		"no S3 client":            func(o *Options) { o.Client = nil },
		"at the end":              func(o *Options) { o.Prefix = "a*/b" },
		"negative":                func(o *Options) { o.Parallel = -1 },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
}

func TestNothingToRead(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	b.Put(testBucket, "text/a.txt", []byte("x"))
	b.Put(testBucket, "empty/a.tar", tarOf(t, "x", 0, 0))
	b.Put(testBucket, "damaged/a.tar", []byte(strings.Repeat("no tar", 200)))
	for prefix, want := range map[string]string{
		"none":    "list s3://images/none: no image (.jpg, .jpeg, .png, .webp) or shard",
		"text":    "set ingest.s3.url",
		"empty":   "no image in its 1 shards",
		"damaged": "s3://images/damaged/a.tar: sample 0",
	} {
		_, err := source(t, b, Options{Prefix: prefix}).Manifest(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
}

func TestOversize(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	for i, size := range []int{99, 100, 101, 1 << 20} {
		b.Put(testBucket, fmt.Sprintf("%d.jpg", i), picture("p", size))
	}
	s := source(t, b, Options{MaxBytes: 100})
	for i, want := range []int{99, 100, 101, 101} {
		got, err := read(t, s, int32(i), 0)
		if err != nil || len(got) != 1 || len(got[0].Image) != want {
			t.Errorf("image %d: %v, %v", i, got, err)
		}
	}
	if n := s.Stats().Bytes; n != 99+100+101+101 {
		t.Errorf("%d bytes were read", n)
	}
}

// A changed or vanished object is an error with its name, or bad images in the places of its samples.
func TestChanged(t *testing.T) {
	for name, change := range map[string]func(b *bucket, key string){
		"gone":      func(b *bucket, key string) { b.Delete(testBucket, key) },
		"same size": func(b *bucket, key string) { b.Put(testBucket, key, picture("other", 6144)) },
		"longer":    func(b *bucket, key string) { b.Put(testBucket, key, make([]byte, 100_000)) },
	} {
		for key, samples := range map[string]int{"s/0.jpg": 1, "s/1.tar": 2} {
			b := newBucket(t, s3server.Options{})
			b.Put(testBucket, "s/0.jpg", make([]byte, 6144))
			b.Put(testBucket, "s/1.tar", tarOf(t, "x", 2, 600))
			first := source(t, b, Options{Prefix: "s"})
			m, err := first.Manifest(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			change(b, key)
			partition := int32(0)
			if key == "s/1.tar" {
				partition = 1
			}
			_, err = read(t, first, partition, 0)
			if !errors.Is(err, ingest.ErrChanged) || !strings.Contains(err.Error(), "s3://images/"+key) ||
				!strings.Contains(err.Error(), "on_change to skip") {
				t.Errorf("%s %s: %v", key, name, err)
			}
			skip := source(t, b, Options{Prefix: "s", OnChange: OnChangeSkip, ManifestDir: first.ManifestDir, ManifestHash: m.Hash()})
			for from := range samples + 1 {
				got, err := read(t, skip, partition, int64(from))
				if err != nil || len(got) != samples-from {
					t.Fatalf("%s %s from %d: %v, %v", key, name, from, got, err)
				}
				for i, s := range got {
					if s.Offset != int64(from+i) || s.Partition != partition || !strings.Contains(s.Problem, "s3://images/"+key) || len(s.Image) > 0 {
						t.Errorf("%s %s: sample %d is %v, problem %q", key, name, from+i, s, s.Problem)
					}
				}
			}
			if skip.Stats().Skipped == 0 {
				t.Error("nothing was counted")
			}
		}
	}
}

// An object that changes while the bucket is listed, before it is counted.
func TestListingChanges(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	b.Put(testBucket, "0.tar", tarOf(t, "x", 2, 600))
	b.misbehave(func(r *http.Request) *s3server.Fault {
		if isObject(r) && strings.HasSuffix(r.URL.Path, "0.tar") {
			b.Put(testBucket, "0.tar", tarOf(t, "y", 2, 600))
		}
		return nil
	})
	_, err := source(t, b, Options{}).Manifest(t.Context())
	if err == nil || !strings.Contains(err.Error(), "changed while the prefix was listed") || !strings.Contains(err.Error(), "0.tar") {
		t.Errorf("error is %v", err)
	}
}

// What goes wrong on the way does not show in what arrives.
func TestFaults(t *testing.T) {
	faults := map[string]*s3server.Fault{
		"throttled": {Status: 503, Code: "SlowDown"}, "reset": {Reset: true}, "flipped": {Flip: true, At: 7001},
		"truncated": {Truncate: true, At: 5003}, "stalled": {Stall: true, At: 3000}, "reordered": {SwapHalves: true},
		"slow": {Chunk: 3000, Delay: 1},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			b := newBucket(t, s3server.Options{})
			b.Put(testBucket, "0.jpg", picture("zero", 9000))
			b.Put(testBucket, "1.tar", tarOf(t, "one", 9, 3000))
			b.Put(testBucket, "2.parquet", parquetOf(t, "two", 9, 3000))
			client := b.clientWith(t, objects.Options{Stall: 300 * time.Millisecond})
			s := source(t, b, Options{Client: client, Labels: true})
			m, err := s.Manifest(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var asked atomic.Int64
			b.misbehave(func(r *http.Request) *s3server.Fault {
				if asked.Add(1)%2 == 1 {
					return fault
				}
				return nil
			})
			for i, n := range []string{"one", "two"} {
				got, err := read(t, s, int32(i+1), 0)
				want := samplesOf(ingest.ID{Source: m.Hash(), Partition: int32(i + 1)}, n, 9, 3000)
				if err != nil || !slices.EqualFunc(got, want, ingesttest.Sample.Equal) {
					t.Errorf("shard %s: %v, %v", n, got, err)
				}
			}
			if got, err := read(t, s, 0, 0); err != nil || string(got[0].Image) != string(picture("zero", 9000)) {
				t.Errorf("image: %v, %v", got, err)
			}
		})
	}
}

// A shard too large to be verified first: samples before the end stand, the end says so.
func TestCorruptLargeShard(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	b.Put(testBucket, "0.tar", tarOf(t, "x", 200, 3000))
	s := source(t, b, Options{PartSize: 1 << 10, Parallel: 1})
	if _, err := s.Manifest(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.misbehave(func(r *http.Request) *s3server.Fault { return &s3server.Fault{Flip: true, At: 3000} })
	r, err := s.Read(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := ingesttest.ReadAll(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "resume from the last checkpoint") || len(got) == 0 {
		t.Errorf("%d samples, %v", len(got), err)
	}
	if len(got) == 200 {
		t.Error("the last samples were handed out too")
	}
}

func TestCancelledWhileRead(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	b.Put(testBucket, "0.jpg", make([]byte, 50_000))
	b.Put(testBucket, "1.tar", tarOf(t, "x", 9, 3000))
	s := source(t, b, Options{PartSize: 1 << 10})
	if _, err := s.Manifest(t.Context()); err != nil {
		t.Fatal(err)
	}
	for partition := range int32(2) {
		asked := make(chan struct{}, 100)
		b.misbehave(func(r *http.Request) *s3server.Fault {
			asked <- struct{}{}
			return &s3server.Fault{Stall: true, At: 10}
		})
		r, err := s.Read(t.Context(), partition, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-asked
			cancel()
		}()
		if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("partition %d: %v", partition, err)
		}
		b.misbehave(nil)
		record, err := r.Next(t.Context())
		if err != nil {
			t.Fatalf("partition %d afterwards: %v", partition, err)
		}
		if first := ingesttest.Samples(record)[0]; first.Offset != 0 {
			t.Errorf("partition %d goes on at %v", partition, first)
		}
		record.Release()
		r.Close()
	}
}

// Shards that an index counts are not read; those that it counts wrongly are.
func TestIndex(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	var entries []shard.Entry
	for i := range 4 {
		name := fmt.Sprintf("%d.tar", i)
		content := tarOf(t, "x", i+1, 1000)
		etag := b.Put(testBucket, "s/"+name, content)
		e := shard.Entry{Name: name, Size: int64(len(content)), Samples: int64(i + 1), ETag: strings.Trim(etag, `"`)}
		switch i {
		case 1:
			e.Size, e.Samples = 1, 99
		case 2:
			e.ETag, e.Samples = "other", 99
		case 3:
			e.ETag = ""
		}
		entries = append(entries, e)
	}
	var index bytes.Buffer
	if err := shard.WriteIndex(&index, entries); err != nil {
		t.Fatal(err)
	}
	b.Put(testBucket, "s/index.jsonl", index.Bytes())
	var read sync.Map
	b.misbehave(func(r *http.Request) *s3server.Fault {
		if isObject(r) {
			read.Store(path.Base(r.URL.Path), true)
		}
		return nil
	})
	told := &warnings{}
	m, err := source(t, b, Options{Prefix: "s", Warn: told.warn}).Manifest(t.Context())
	if err != nil || m.Samples() != 1+2+3+4 {
		t.Fatalf("manifest is %v, %v", m, err)
	}
	for i, want := range []bool{false, true, true, false} {
		if _, got := read.Load(fmt.Sprintf("%d.tar", i)); got != want {
			t.Errorf("shard %d is read: %v", i, got)
		}
	}
	if told.about("mocostream index") != 1 {
		t.Errorf("a person is told %q", told.texts)
	}
	b.Put(testBucket, "s/index.jsonl", []byte("{nonsense"))
	if m, err := source(t, b, Options{Prefix: "s", Warn: told.warn}).Manifest(t.Context()); err != nil || m.Samples() != 10 {
		t.Errorf("with a damaged index: %v, %v", m, err)
	}
	if told.about("index cannot be used") != 1 {
		t.Errorf("a person is told %q", told.texts)
	}
}

// A manifest is kept: objects that come later change nothing, and a lost one is made again from an unchanged bucket.
func TestFrozen(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	b.Put(testBucket, "b.jpg", []byte("b"))
	first := source(t, b, Options{})
	m, err := first.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := source(t, b, Options{ManifestHash: m.Hash()}).Manifest(t.Context()); err != nil || again.Hash() != m.Hash() {
		t.Errorf("a lost manifest: %v, %v", again, err)
	}
	b.Put(testBucket, "a.jpg", []byte("a"))
	kept := source(t, b, Options{ManifestDir: first.ManifestDir, ManifestHash: m.Hash()})
	if got, err := read(t, kept, 0, 0); err != nil || len(got) != 1 || got[0].Key != "b.jpg" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := source(t, b, Options{ManifestHash: m.Hash()}).Manifest(t.Context()); !errors.Is(err, ingest.ErrChanged) {
		t.Errorf("lost, and the bucket changed: %v", err)
	}
}
