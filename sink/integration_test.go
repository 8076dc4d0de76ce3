//go:build integration

package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"mocostream/internal/objects"
	"mocostream/internal/servertest"
)

// realBucket is a part of a bucket on a server of somebody else, for tests that take it for a whole bucket.
type realBucket struct {
	client       *objects.Client
	name, prefix string
}

func (b realBucket) List(ctx context.Context, _, prefix, after string) iter.Seq2[objects.Object, error] {
	if after != "" {
		after = b.prefix + after
	}
	return func(yield func(objects.Object, error) bool) {
		for o, err := range b.client.List(ctx, b.name, b.prefix+prefix, after) {
			o.Key = strings.TrimPrefix(o.Key, b.prefix)
			if !yield(o, err) {
				return
			}
		}
	}
}

func (b realBucket) Stat(ctx context.Context, _, key string) (objects.Object, error) {
	return b.client.Stat(ctx, b.name, b.prefix+key)
}

func (b realBucket) Get(ctx context.Context, _ string, o objects.Object, from int64) (io.ReadCloser, error) {
	return b.client.Get(ctx, b.name, o, from)
}

func (b realBucket) ReadAll(ctx context.Context, _ string, o objects.Object) ([]byte, error) {
	return b.client.ReadAll(ctx, b.name, o)
}

func (b realBucket) Put(ctx context.Context, _, key string, body io.ReadSeeker, o objects.PutOptions) (objects.Object, error) {
	return b.client.Put(ctx, b.name, b.prefix+key, body, o)
}

func (b realBucket) Delete(ctx context.Context, _ string, keys ...string) error {
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = b.prefix + key
	}
	return b.client.Delete(ctx, b.name, full...)
}

func (b realBucket) keys(prefix string) []string {
	var keys []string
	for o, err := range b.List(context.Background(), "", prefix, "") {
		if err != nil {
			panic(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func (b realBucket) change(key string, edit func([]byte) []byte) {
	ctx := context.Background()
	var data []byte
	o, err := b.Stat(ctx, "", key)
	if err == nil {
		data, err = b.ReadAll(ctx, "", o)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(err)
	}
	if data = edit(data); data == nil {
		err = b.Delete(ctx, "", key)
	} else {
		_, err = b.Put(ctx, "", key, bytes.NewReader(data), objects.PutOptions{})
	}
	if err != nil {
		panic(err)
	}
}

// realBuckets makes a bucket on the server that the environment names, and returns a maker of parts of it.
func realBuckets(t *testing.T) func() realBucket {
	server := servertest.ObjectStore(t)
	name := "sink-test-" + randomHex(8)
	admin := s3.New(s3.Options{
		BaseEndpoint: &server.Endpoint, UsePathStyle: true, Region: server.Region,
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(server.AccessKey, server.SecretKey, "")),
	})
	if _, err := admin.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	client, err := objects.Open(t.Context(), objects.Options{
		Endpoint: server.Endpoint, PathStyle: true, Region: server.Region,
		AccessKey: func() (string, error) { return server.AccessKey, nil }, SecretKey: func() (string, error) { return server.SecretKey, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer client.Close()
		all := realBucket{client, name, ""}
		if err := all.Delete(context.Background(), "", all.keys("")...); err != nil {
			t.Errorf("empty bucket %s: %v", name, err)
		}
		if _, err := admin.DeleteBucket(context.Background(), &s3.DeleteBucketInput{Bucket: &name}); err != nil {
			t.Errorf("remove bucket %s: %v", name, err)
		}
	})
	var n atomic.Int64
	return func() realBucket { return realBucket{client, name, fmt.Sprintf("%04d/", n.Add(1))} }
}

// TestRealServer runs the suites of stores and publishers, and races of two writers, on a real server.
func TestRealServer(t *testing.T) {
	bucket := realBuckets(t)
	t.Run("stores", func(t *testing.T) {
		storeSuite(t, func(t *testing.T) shelf { return &s3Shelf{bucket: bucket(), cache: t.TempDir()} })
	})
	t.Run("publishers", func(t *testing.T) {
		publisherSuite(t, func(*testing.T) showcase { return s3Showcase{bucket()} })
	})
	t.Run("races", func(t *testing.T) {
		for round := range 50 {
			raceTwo(t, bucket(), round)
		}
	})
	t.Run("claims", func(t *testing.T) { manyClaim(t, bucket()) })
}

// Of many that claim at the same moment one leads in the end, and claims are consecutive.
func manyClaim(t *testing.T, b bucketOfTest) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var opened []*S3Store
	for range 8 {
		h := &s3Shelf{bucket: b, cache: t.TempDir()}
		all.Go(func() {
			s, err := OpenS3Store(t.Context(), h.options(Options{}))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				opened = append(opened, s)
			} else if !errors.Is(err, ErrFenced) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	leads := 0
	for _, s := range opened {
		if err := s.Check(t.Context()); err == nil {
			leads++
		} else if !errors.Is(err, ErrFenced) {
			t.Error(err)
		}
	}
	if leads != 1 {
		t.Errorf("%d of %d lead", leads, len(opened))
	}
	for i, key := range b.keys("runs/a/generations/") {
		if want := "runs/a/" + generationName(int64(i+1)); key != want {
			t.Errorf("generation %s, want %s", key, want)
		}
	}
}
