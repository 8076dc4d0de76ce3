//go:build integration

package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdkcredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"mocostream/internal/objects"
)

// TestRealServer runs the client against a server of somebody else: an empty bucket is made and emptied again.
func TestRealServer(t *testing.T) {
	endpoint, key, secret := os.Getenv("MOCOSTREAM_S3_ENDPOINT"), os.Getenv("MOCOSTREAM_S3_ACCESS_KEY"), os.Getenv("MOCOSTREAM_S3_SECRET_KEY")
	if endpoint == "" || key == "" || secret == "" {
		t.Skip("needs an S3 server: start one with `make s3-up` and set MOCOSTREAM_S3_ENDPOINT, MOCOSTREAM_S3_ACCESS_KEY and MOCOSTREAM_S3_SECRET_KEY")
	}
	name := fmt.Sprintf("objects-test-%d", os.Getpid())
	makeBucket(t, endpoint, key, secret, name)
	for _, checksum := range []string{"when_required", "when_supported"} {
		t.Run(checksum, func(t *testing.T) {
			c := open(t, objects.Options{Endpoint: endpoint, Checksum: checksum, AccessKey: constant(key), SecretKey: constant(secret)})
			runAgainst(t, c, name)
		})
	}
	t.Run("wrong secret", func(t *testing.T) {
		c := open(t, objects.Options{Endpoint: endpoint, AccessKey: constant(key), SecretKey: constant(secretKey)})
		_, err := c.Stat(t.Context(), name, "o")
		if !errors.Is(err, objects.ErrCredentials) {
			t.Errorf("got %v", err)
		}
		noSecrets(t, err.Error())
	})
}

func makeBucket(t *testing.T, endpoint, key, secret, name string) {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"),
		config.WithCredentialsProvider(sdkcredentials.NewStaticCredentialsProvider(key, secret, "")))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Client{Transport: &http.Transport{}}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle, o.HTTPClient = &endpoint, true, web })
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer web.CloseIdleConnections()
		if _, err := client.DeleteBucket(context.WithoutCancel(t.Context()), &s3.DeleteBucketInput{Bucket: aws.String(name)}); err != nil {
			t.Logf("bucket %s is left behind: %v", name, err)
		}
	})
}

func runAgainst(t *testing.T, c *objects.Client, name string) {
	ctx := t.Context()
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("d/%03d.jpg", i))
	}
	keys = append(keys, "d/a b+c", "d/ä/日本", "d/%25", "big")
	slices.Sort(keys)
	c.SendInParts(6 << 20)
	big, small := noise(13<<20), noise(100_000)
	for _, key := range keys {
		data := small
		if key == "big" {
			data = big
		}
		if _, err := c.Put(ctx, name, key, bytes.NewReader(data), objects.PutOptions{IfNoneMatch: true}); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if err := c.Delete(ctx, name, keys...); err != nil {
			t.Error(err)
		}
	}()
	found := make(map[string]objects.Object)
	var order []string
	for o, err := range c.List(ctx, name, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		order, found[o.Key] = append(order, o.Key), o
	}
	if !slices.Equal(order, keys) {
		t.Fatalf("listed %q, want %q", order, keys)
	}
	checkReads(t, c, name, found["big"], big)
	checkReads(t, c, name, found["d/a b+c"], small)
	checkConditions(t, c, name, found["d/000.jpg"])
}

func checkReads(t *testing.T, c *objects.Client, name string, o objects.Object, data []byte) {
	t.Helper()
	if got, err := c.ReadAll(t.Context(), name, o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s: ReadAll: %d bytes, %v", o.Key, len(got), err)
	}
	for _, from := range []int64{0, 77_777, o.Size} {
		r, err := c.GetParallel(t.Context(), name, o, from, 1<<20, 3)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, data[from:]) {
			t.Errorf("%s from %d: %d bytes, %v", o.Key, from, len(got), err)
		}
	}
	part := make([]byte, 1000)
	if _, err := c.ReaderAt(t.Context(), name, o).ReadAt(part, 50_000); err != nil || !bytes.Equal(part, data[50_000:51_000]) {
		t.Errorf("%s: ReadAt: %v", o.Key, err)
	}
}

func checkConditions(t *testing.T, c *objects.Client, name string, o objects.Object) {
	t.Helper()
	put := func(key string, opts objects.PutOptions) error {
		_, err := c.Put(t.Context(), name, key, strings.NewReader("other"), opts)
		return err
	}
	if err := put(o.Key, objects.PutOptions{IfNoneMatch: true}); !errors.Is(err, objects.ErrExists) {
		t.Errorf("If-None-Match: %v", err)
	}
	if err := put(o.Key, objects.PutOptions{IfMatch: `"00112233445566778899aabbccddeeff"`}); !errors.Is(err, objects.ErrExists) {
		t.Errorf("If-Match of another: %v", err)
	}
	if err := put(o.Key, objects.PutOptions{IfMatch: o.ETag}); err != nil {
		t.Errorf("If-Match: %v", err)
	}
	o.Version = "" // the newest
	if _, err := c.ReadAll(t.Context(), name, o); !errors.Is(err, objects.ErrChanged) {
		t.Errorf("read what changed: %v", err)
	}
	if _, err := c.Stat(t.Context(), name, "absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	var wins atomic.Int64
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			if put("race", objects.PutOptions{IfNoneMatch: true}) == nil {
				wins.Add(1)
			}
		})
	}
	writers.Wait()
	if err := c.Delete(t.Context(), name, "race", "absent"); err != nil || wins.Load() != 1 {
		t.Errorf("%d writers won; delete: %v", wins.Load(), err)
	}
}
