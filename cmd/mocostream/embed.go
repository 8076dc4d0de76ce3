package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"
	"mocostream/train/eval"

	"go.uber.org/zap"
)

type embedCommand struct {
	checkpointFlags
	Data string `required:"" placeholder:"DIR|SHARDS|s3://BUCKET/PREFIX" help:"Images: a folder, or shards (a file, a pattern, a folder of them), or a bucket of either."`
	Out  string `required:"" placeholder:"FILE.parquet" help:"Where to write."`
	JSON bool   `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (embedCommand) Help() string {
	return `Columns: key, label (of a sub-folder, or of a .cls member), embedding (backbone features before any normalisation, with
the BatchNorm statistics of training, as export writes them).

Example:
  mocostream embed --checkpoint runs/photos --data photos --out photos.parquet`
}

// Run implements the command.
func (c embedCommand) Run(term *terminal) error {
	j, err := c.open(term)
	if err != nil {
		return err
	}
	defer j.close()
	e, err := j.embedder()
	if err != nil {
		return err
	}
	defer e.Close()
	var written int
	var bad []loader.DeadLetter
	err = term.interruptible(func(ctx context.Context) (err error) {
		written, bad, err = j.embedTo(ctx, e, c.bucketFlags, c.Data, c.Out)
		return err
	})
	if err != nil {
		return err
	}
	for _, letter := range bad {
		fmt.Fprintf(term.err, "mocostream: warning: %s is left out: %s: %s\n", letter.Key, letter.Reason, letter.Detail)
	}
	if c.JSON {
		return printJSON(term.out, map[string]any{
			"images": written, "bad_images": len(bad), "dim": j.checkpoint.Encoder.Features(), "out": c.Out,
		})
	}
	_, err = fmt.Fprintf(term.out, "%d images, %d numbers each, in %s\n", written, j.checkpoint.Encoder.Features(), c.Out)
	return err
}

// embedTo writes the features of every image of data to a Parquet file.
func (j *encoderJob) embedTo(ctx context.Context, e *train.Embedder, b bucketFlags, data, out string) (written int, bad []loader.DeadLetter, err error) {
	src, closeSource, err := openData(ctx, data, b.like(j.config))
	if err != nil {
		return 0, nil, err
	}
	defer closeSource()
	w, err := sink.NewEmbeddingWriter(out, j.checkpoint.Encoder.Features())
	if err != nil {
		return 0, nil, err
	}
	bad, err = eval.Pass(ctx, src, j.evalOptions(), false, func(b augment.EvalBatch) error {
		features, _, err := e.Embed(ctx, b.Pixels)
		if err != nil {
			return err
		}
		written += b.Len()
		return w.Write(b.Keys, b.Labels, features)
	})
	if err != nil {
		return 0, nil, errors.Join(err, w.Abort())
	}
	return written, bad, w.Close()
}

// openData opens a folder, shards or s3://bucket/prefix for one reading; its list of files lives in a temporary folder.
func openData(ctx context.Context, path string, like *config.Config) (source, func(), error) {
	manifests, err := os.MkdirTemp("", "mocostream-data-")
	if err != nil {
		return nil, nil, fmt.Errorf("make temporary folder: %w", err)
	}
	c := readingOnce(like)
	switch {
	case strings.HasPrefix(path, "s3://"):
		c.Ingest.S3.URL = path
	case holdsShards(path):
		c.Ingest.Shards = path
	default:
		c.Ingest.Dir = path
	}
	src, err := openSource(ctx, c, manifests, "", zap.NewNop())
	if err != nil {
		_ = os.RemoveAll(manifests)
		return nil, nil, err
	}
	return src, func() {
		_ = src.Close() // only read
		_ = os.RemoveAll(manifests)
	}, nil
}

// readingOnce is a configuration without a source, that reads labels.
func readingOnce(like *config.Config) *config.Config {
	c := *like
	c.Ingest = config.Ingest{Labels: true, S3: like.Ingest.S3, ImageColumn: like.Ingest.ImageColumn, LabelColumn: like.Ingest.LabelColumn}
	c.Ingest.S3.URL, c.Ingest.S3.Follow = "", false
	return &c
}

// holdsShards says whether path names shards: a file, a pattern, or a folder with some in it.
func holdsShards(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return strings.ContainsAny(path, "*?[")
	}
	if !info.IsDir() {
		return true
	}
	for _, pattern := range []string{"*.tar", "*.tar.gz", "*.tgz", "*.parquet", "*.arrow", "*.arrows", "*.feather"} {
		if found, _ := filepath.Glob(filepath.Join(path, pattern)); len(found) > 0 {
			return true
		}
	}
	return false
}
