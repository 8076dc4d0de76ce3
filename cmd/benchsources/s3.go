package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/s3"
	"mocostream/internal/objects"
	"mocostream/internal/reuse"
	"mocostream/loader"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

type s3Command struct {
	Endpoint  string   `env:"MOCOSTREAM_S3_ENDPOINT" required:"" help:"URL of an S3 server."`
	AccessKey string   `env:"MOCOSTREAM_S3_ACCESS_KEY" required:"" help:"Access key of the server."`
	SecretKey string   `env:"MOCOSTREAM_S3_SECRET_KEY" required:"" help:"Secret key of the server."`
	Kinds     []string `enum:"tar,parquet,images" default:"tar,parquet,images" help:"What to read: tar, parquet, images."`
	Readers   int      `default:"4" help:"Objects read at a time."`
	Parallel  int      `help:"Parts of one shard asked for at a time; 0: the default."`
	Sums      string   `enum:"crc,none" default:"crc" help:"What the server keeps of each object: crc, or none beside its MD5 sum."`
	contest
}

const (
	imageSize      = 110_000
	imagesOfShard  = 400
	shards         = 8
	singles        = 1024
	benchBucketFmt = "bench-%d"
)

// objectsOf yields the objects of a kind.
func objectsOf(kind string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if kind == "images" {
			for _, image := range images(0, singles, imageSize) {
				if !yield(image, nil) {
					return
				}
			}
			return
		}
		pack := map[string]func([][]byte) ([]byte, error){"tar": tarOf, "parquet": parquetOf}[kind]
		for i := range shards {
			if !yield(pack(images(byte(i), imagesOfShard, imageSize))) {
				return
			}
		}
	}
}

// Run implements the command.
func (c s3Command) Run(ctx context.Context, out io.Writer) (err error) {
	bucket := fmt.Sprintf(benchBucketFmt, os.Getpid())
	raw := awss3.New(awss3.Options{
		BaseEndpoint: &c.Endpoint, UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
	})
	if _, err := raw.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		return fmt.Errorf("make bucket: %w", err)
	}
	defer func() {
		_, gone := raw.DeleteBucket(context.WithoutCancel(ctx), &awss3.DeleteBucketInput{Bucket: &bucket})
		err = errors.Join(err, gone)
	}()
	for _, kind := range c.Kinds {
		if err := c.kind(ctx, out, raw, bucket, kind); err != nil {
			return err
		}
	}
	return nil
}

func (c s3Command) client(ctx context.Context) (*objects.Client, error) {
	sums := map[string]string{"crc": "when_supported", "none": "when_required"}[c.Sums]
	return objects.Open(ctx, objects.Options{
		Endpoint: c.Endpoint, PathStyle: true, Checksum: sums,
		AccessKey: func() (string, error) { return c.AccessKey, nil },
		SecretKey: func() (string, error) { return c.SecretKey, nil },
	})
}

func (c s3Command) kind(ctx context.Context, out io.Writer, raw *awss3.Client, bucket, kind string) (err error) {
	client, err := c.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	keys, size, err := fill(ctx, client, bucket, kind)
	defer func() { err = errors.Join(err, client.Delete(context.WithoutCancel(ctx), bucket, keys...)) }()
	if err != nil {
		return err
	}
	urls, err := signed(ctx, raw, bucket, keys)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "benchsources")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	source, err := s3.New(s3.Options{Client: client, Bucket: bucket, Prefix: kind, ManifestDir: dir, Parallel: c.Parallel})
	if err != nil {
		return err
	}
	defer source.Close()
	if _, err := source.Manifest(ctx); err != nil {
		return err
	}
	web := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	web.Transport.(*http.Transport).MaxIdleConnsPerHost = c.Readers
	defer web.CloseIdleConnections()
	each := func(read func(ctx context.Context, i int) error) func(ctx context.Context) error {
		return func(ctx context.Context) error { return inParallel(ctx, c.Readers, len(keys), read) }
	}
	_, err = c.run(ctx, out, fmt.Sprintf("s3 %s, %d at a time", kind, c.Readers), size, []contender{
		{name: "http.Get", plain: true, read: each(func(ctx context.Context, i int) error { return get(ctx, web, urls[i]) })},
		{name: "Reader.Next", read: each(func(ctx context.Context, i int) error { return drain(ctx, source, int32(i)) })},
		{name: "loader.Bounded", read: func(ctx context.Context) error { return load(ctx, source) }},
	})
	return err
}

// fill puts the objects of a kind below a prefix of that name.
func fill(ctx context.Context, client *objects.Client, bucket, kind string) (keys []string, size int64, err error) {
	ending := map[string]string{"tar": "tar", "parquet": "parquet", "images": "jpg"}[kind]
	for content, err := range objectsOf(kind) {
		if err != nil {
			return keys, size, err
		}
		key := fmt.Sprintf("%s/%06d.%s", kind, len(keys), ending)
		if _, err := client.Put(ctx, bucket, key, bytes.NewReader(content), objects.PutOptions{}); err != nil {
			return keys, size, err
		}
		keys, size = append(keys, key), size+int64(len(content))
	}
	return keys, size, nil
}

// signed returns URLs that read the objects without a header.
func signed(ctx context.Context, raw *awss3.Client, bucket string, keys []string) ([]string, error) {
	signer := awss3.NewPresignClient(raw, awss3.WithPresignExpires(6*time.Hour))
	var urls []string
	for _, key := range keys {
		request, err := signer.PresignGetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String(key)})
		if err != nil {
			return nil, err
		}
		urls = append(urls, request.URL)
	}
	return urls, nil
}

func inParallel(ctx context.Context, limit, n int, read func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	for i := range n {
		group.Go(func() error { return read(ctx, i) })
	}
	return group.Wait()
}

func get(ctx context.Context, web *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := web.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("read plainly: %s", answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func drain(ctx context.Context, source ingest.Bounded, partition int32) error {
	r, err := source.Read(ctx, partition, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		record, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		record.Release()
	}
}

// load reads one epoch as training does: shuffled, several shards at a time.
func load(ctx context.Context, source ingest.Bounded) error {
	l := loader.NewBounded(source, loader.Options{Shuffle: true, ShuffleWindow: 4, Epochs: 1, Allocator: reuse.New()})
	group, ctx := errgroup.WithContext(ctx)
	samples := make(chan loader.Sample, 64)
	group.Go(func() error { return l.Run(ctx, samples) })
	for s := range samples {
		s.Release()
	}
	return group.Wait()
}

// Validate implements kong's check.
func (c s3Command) Validate() error {
	for _, kind := range c.Kinds {
		if !slices.Contains(strings.Split("tar,parquet,images", ","), kind) {
			return fmt.Errorf("kind %q is not tar, parquet or images", kind)
		}
	}
	if c.Readers < 1 || c.Rounds < 1 {
		return errors.New("readers and rounds have to be positive")
	}
	return nil
}
