package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mocostream/config"
	"mocostream/internal/objects"
	"mocostream/sink"
)

// bucketFlags say how the buckets of s3:// arguments are reached. Credentials come from the AWS default chain
// (environment, profile, role).
type bucketFlags struct {
	Endpoint  string `name:"s3-endpoint" env:"MOCOSTREAM_S3_ENDPOINT" placeholder:"URL" help:"S3-compatible server of s3:// arguments; default: AWS."`
	Region    string `name:"s3-region" placeholder:"REGION" help:"Region of s3:// arguments."`
	PathStyle bool   `name:"s3-path-style" help:"Put buckets into the path of URLs; on with --s3-endpoint to this machine."`
	Anonymous bool   `name:"s3-anonymous" help:"Do not sign requests: public buckets."`
}

const bucketScheme = "s3://"

func (b bucketFlags) access() config.S3Access {
	a := config.Default().Ingest.S3.S3Access
	a.Endpoint, a.Region, a.PathStyle, a.Anonymous = b.Endpoint, b.Region, b.PathStyle, b.Anonymous
	for _, local := range []string{"http://localhost", "http://127.0.0.1", "http://[::1]"} {
		a.PathStyle = a.PathStyle || strings.HasPrefix(b.Endpoint, local)
	}
	return a
}

func (b bucketFlags) client(term *terminal) (*objects.Client, error) {
	return openClient(term.ctx, b.access(), logFlags{LogFormat: "text"}.logger(term.err))
}

// resolve returns the step folder that path means: a step folder, a run folder, or the same in a bucket, which is
// downloaded. done is called when the folder has been read.
func (b bucketFlags) resolve(term *terminal, path string) (folder string, done func(), err error) {
	warn := func(text string) { fmt.Fprintf(term.err, "mocostream: warning: %s\n", text) }
	if !strings.HasPrefix(path, bucketScheme) {
		folder, err = sink.Resolve(path, warn)
		return folder, func() {}, err
	}
	client, err := b.client(term)
	if err != nil {
		return "", nil, err
	}
	cache, err := os.MkdirTemp("", "mocostream-checkpoint-")
	if err != nil {
		return "", nil, fmt.Errorf("make temporary folder: %w", err)
	}
	done = func() { _ = os.RemoveAll(cache) }
	err = term.interruptible(func(ctx context.Context) (err error) {
		folder, err = sink.ResolveS3(ctx, client, path, filepath.Join(cache, "checkpoint"), warn)
		return err
	})
	if err != nil {
		done()
	}
	return folder, done, err
}

// like is a configuration that reaches buckets as the flags say, for openData.
func (b bucketFlags) like(c *config.Config) *config.Config {
	like := *c
	like.Ingest.S3.S3Access = b.access()
	return &like
}
