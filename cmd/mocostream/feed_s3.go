package main

import (
	"context"
	"io"
	"path/filepath"

	"mocostream/config"
	"mocostream/ingest"
	"mocostream/ingest/s3"
	"mocostream/train"

	"go.uber.org/zap"
)

const (
	followFile = "follow.bin" // of a checkpoint: the objects found, and those remembered
	followDir  = "follow"     // of a run folder: the same, as of now
)

// prefixFeed is a watched prefix as a feed.
type prefixFeed struct {
	*s3.Follow
	behind func() ingest.Progress // of another reader of the list, which must not lose what it has not read; nil: none
}

func openFollow(ctx context.Context, c *config.Config, log *zap.Logger, from *train.Checkpoint) (*prefixFeed, error) {
	in := c.Ingest.S3
	client, err := openClient(ctx, in.S3Access, log)
	if err != nil {
		return nil, err
	}
	bucket, prefix, _ := config.Bucket(in.URL) // checked with the configuration
	if from == nil {
		if err := mayList(ctx, client, bucket, prefix); err != nil {
			return nil, err
		}
	}
	o := s3.FollowOptions{
		Client: client, Bucket: bucket, Prefix: prefix, Kind: in.Kind, Labels: c.Ingest.Labels,
		ImageColumn: c.Ingest.ImageColumn, LabelColumn: c.Ingest.LabelColumn, MaxBytes: c.Loader.Limits.MaxBytes,
		PartSize: in.PartSize, Parallel: in.Parallel, PauseLimit: in.PauseLimit, Warn: warner(log),
		StateDir: filepath.Join(c.Sink.Dir, followDir), Start: s3.Start{Latest: in.FollowStart == "latest"},
		Interval: in.FollowEvery, Lateness: in.FollowLateness, Fetchers: c.Loader.Fetchers,
	}
	f := &prefixFeed{}
	open := func(state io.Reader) (err error) {
		o.State = state
		f.Follow, err = s3.NewFollow(o)
		return err
	}
	if err = readState(from, followFile, open); err == nil && f.Follow == nil {
		err = open(nil)
	}
	if err != nil {
		return nil, err
	}
	log.Info("source", zap.String("follows", in.URL))
	return f, nil
}

// seal implements feed.
func (f *prefixFeed) seal(c *train.Checkpoint) error {
	done := c.Token.Progress
	if f.behind != nil {
		if other := f.behind(); f.firstGap(other) < f.firstGap(done) {
			done = other
		}
	}
	addFile(c, followFile, f.Seal(done))
	return nil
}

func (f *prefixFeed) firstGap(p ingest.Progress) int64 { return p.Streams[f.Source()][0].FirstGap(0) }

// saved implements feed.
func (f *prefixFeed) saved(context.Context, string, ingest.Progress) {}
