package main

import (
	"context"

	"mocostream/config"
	"mocostream/ingest/kafka"
	"mocostream/ingest/s3"
	"mocostream/internal/objects"

	"go.uber.org/zap"
)

// openClient opens a client of a bucket as the configuration describes it.
func openClient(ctx context.Context, a config.S3Access, log *zap.Logger) (*objects.Client, error) {
	o := objects.Options{
		Region: a.Region, Endpoint: a.Endpoint, PathStyle: a.PathStyle, Anonymous: a.Anonymous, AllowHTTP: a.AllowHTTP,
		Checksum: a.Checksum, Warn: warner(log),
	}
	if a.AccessKey != "" {
		o.AccessKey, o.SecretKey = kafka.NewSecret(a.AccessKey).Read, kafka.NewSecret(a.SecretKey).Read
		if a.SessionToken != "" {
			o.SessionToken = kafka.NewSecret(a.SessionToken).Read
		}
	}
	return objects.Open(ctx, o)
}

// warner logs what a person should know.
func warner(log *zap.Logger) func(string) { return func(text string) { log.Warn(text) } }

// mayList fails where the credentials of a run that begins are refused: a mistake then, while a run that goes on waits for
// new ones.
func mayList(ctx context.Context, client *objects.Client, bucket, prefix string) error {
	for _, err := range client.List(ctx, bucket, prefix, "") {
		return err
	}
	return nil
}

// openBucket opens ingest.s3 as a source with an end.
func openBucket(ctx context.Context, c *config.Config, manifestDir, hash string, log *zap.Logger) (source, error) {
	in := c.Ingest.S3
	client, err := openClient(ctx, in.S3Access, log)
	if err != nil {
		return nil, err
	}
	bucket, prefix, _ := config.Bucket(in.URL) // checked with the configuration
	if hash == "" {
		if err := mayList(ctx, client, bucket, prefix); err != nil {
			return nil, err
		}
	}
	return s3.New(s3.Options{
		Client: client, Bucket: bucket, Prefix: prefix, Kind: in.Kind, Labels: c.Ingest.Labels, ManifestDir: manifestDir, ManifestHash: hash,
		MaxBytes: c.Loader.Limits.MaxBytes, ImageColumn: c.Ingest.ImageColumn, LabelColumn: c.Ingest.LabelColumn, OnChange: in.OnChange,
		PartSize: in.PartSize, Parallel: in.Parallel, PauseLimit: in.PauseLimit, Warn: warner(log),
	})
}
