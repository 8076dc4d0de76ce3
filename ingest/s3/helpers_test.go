package s3

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/internal/objects"
	"mocostream/internal/s3server"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testBucket = "images"

// bucket is an S3 stand-in whose misbehaviour can be changed while it is asked.
type bucket struct {
	*s3server.Server
	url   string
	fault atomic.Pointer[func(r *http.Request) *s3server.Fault]
}

func newBucket(t testing.TB, opts s3server.Options) *bucket {
	t.Helper()
	b := &bucket{}
	opts.Fault = func(r *http.Request) *s3server.Fault {
		if fault := b.fault.Load(); fault != nil {
			return (*fault)(r)
		}
		return nil
	}
	b.Server = s3server.New(opts)
	b.MakeBucket(testBucket) // a tail may look at it before a test puts something
	var err error
	if b.url, err = b.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// misbehave asks f before each request; nil ends it.
func (b *bucket) misbehave(f func(r *http.Request) *s3server.Fault) {
	if f == nil {
		b.fault.Store(nil)
		return
	}
	b.fault.Store(&f)
}

func (b *bucket) client(t testing.TB) *objects.Client {
	t.Helper()
	return b.clientWith(t, objects.Options{})
}

func (b *bucket) clientWith(t testing.TB, o objects.Options) *objects.Client {
	t.Helper()
	o.Endpoint, o.PathStyle, o.Anonymous = b.url, true, o.AccessKey == nil
	o.Deadline, o.MaxBackoff, o.Stall = 30*time.Second, 2*time.Millisecond, cmp.Or(o.Stall, 10*time.Second)
	c, err := objects.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// isObject says whether a request reads an object.
func isObject(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0
}

// checked is memory that has to be empty at the test's end.
func checked(t testing.TB) memory.Allocator {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

func source(t testing.TB, b *bucket, o Options) *Source {
	t.Helper()
	if o.Client == nil {
		o.Client = b.client(t)
	}
	o.Bucket, o.Allocator = testBucket, checked(t)
	if o.ManifestDir == "" {
		o.ManifestDir = t.TempDir()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.first, s.longest = time.Millisecond, 5*time.Millisecond
	t.Cleanup(func() { s.Close() })
	return s
}

func read(t testing.TB, s ingest.Bounded, partition int32, from int64) ([]ingesttest.Sample, error) {
	t.Helper()
	r, err := s.Read(t.Context(), partition, from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return ingesttest.ReadAll(t.Context(), r)
}

// picture returns size bytes that depend on the name.
func picture(name string, size int) []byte {
	return bytes.Repeat([]byte(name+"|"), size/(len(name)+1)+1)[:size]
}

// tarOf makes a shard of n images and labels.
func tarOf(t testing.TB, name string, n, size int) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	add := func(name string, content []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		key := fmt.Sprintf("%s-%03d", name, i)
		add(key+".jpg", picture(key, size))
		add(key+".cls", fmt.Append(nil, i%10))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// samplesOf are those of tarOf and parquetOf.
func samplesOf(id ingest.ID, name string, n, size int) []ingesttest.Sample {
	all := make([]ingesttest.Sample, n)
	for i := range all {
		all[i].ID, all[i].Key = id, fmt.Sprintf("%s-%03d", name, i)
		all[i].Offset = int64(i)
		all[i].Image, all[i].Label = picture(all[i].Key, size), new(int32(i%10))
	}
	return all
}

func parquetOf(t testing.TB, name string, n, size int) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "key", Type: arrow.BinaryTypes.String}, {Name: "image", Type: arrow.BinaryTypes.Binary},
		{Name: "label", Type: arrow.PrimitiveTypes.Int32},
	}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	for i, s := range samplesOf(ingest.ID{}, name, n, size) {
		b.Field(0).(*array.StringBuilder).Append(s.Key)
		b.Field(1).(*array.BinaryBuilder).Append(s.Image)
		b.Field(2).(*array.Int32Builder).Append(int32(i % 10))
	}
	record := b.NewRecord()
	var raw bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &raw, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err == nil {
		err = w.Write(record)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// warnings keeps what a person is told.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) warn(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// about returns how many hold a word.
func (w *warnings) about(word string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(w.texts), func(text string) bool { return !strings.Contains(text, word) }))
}

// clock is a client whose objects are as old as the test says.
type clock struct {
	Client
	mu    sync.Mutex
	times map[string]time.Time // by key
}

func (c *clock) set(key string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == nil {
		c.times = map[string]time.Time{}
	}
	c.times[key] = at
}

func (c *clock) List(ctx context.Context, bucket, prefix, after string) iter.Seq2[objects.Object, error] {
	return func(yield func(objects.Object, error) bool) {
		for o, err := range c.Client.List(ctx, bucket, prefix, after) {
			c.mu.Lock()
			if at, set := c.times[o.Key]; set {
				o.Modified = at
			}
			c.mu.Unlock()
			if !yield(o, err) {
				return
			}
		}
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it never comes that %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// tidy is a source that leaves no idle connection behind what it does, for suites that look for leaks.
type tidy struct {
	*Source
	client *objects.Client
}

func (s tidy) Manifest(ctx context.Context) (*ingest.Manifest, error) {
	defer s.client.Close()
	return s.Source.Manifest(ctx)
}

func (s tidy) Read(ctx context.Context, partition int32, from int64) (ingest.Reader, error) {
	r, err := s.Source.Read(ctx, partition, from)
	return tidyReader{r, s.client}, err
}

type tidyReader struct {
	ingest.Reader
	client *objects.Client
}

func (r tidyReader) Close() error {
	defer r.client.Close()
	return r.Reader.Close()
}

func picName(i int) string { return fmt.Sprintf("p/%06d.jpg", i) }
