package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"mocostream/config"
	"mocostream/ingest/dir"
	"mocostream/ingest/pack"
	"mocostream/ingest/shards"
	"mocostream/internal/objects"
)

type packCommand struct {
	Data         string   `required:"" placeholder:"DIR|SHARDS" help:"Images: a folder, or shards (a file, a pattern, a folder of them)."`
	Out          string   `required:"" placeholder:"DIR|s3://BUCKET/PREFIX" help:"Where to write; a folder without shards."`
	Format       string   `enum:"tar,parquet,arrow" default:"tar" help:"Form of the shards: ${enum}."`
	ShardSize    byteSize `default:"256MiB" help:"Largest shard, such as 256MiB; one image may pass it alone."`
	ShardSamples int64    `default:"0" help:"Most images of a shard; 0 is no limit."`
	Name         string   `default:"train-%06d" help:"Name of a shard without its extension; %06d is its number."`
	Labels       bool     `help:"Write labels: the index of an image's top-level folder, or those of the shards."`
	Shuffle      bool     `help:"Take the files in an order drawn from the seed."`
	Seed         uint64   `default:"0" help:"Seed of the order."`
	JSON         bool     `name:"json" help:"Print one JSON object on stdout."`
	bucketFlags
}

// Help is shown below the flags.
func (packCommand) Help() string {
	return `Copies images, untouched, into shards with an index (index.jsonl) beside them: tar in WebDataset's convention (KEY.jpg,
KEY.cls), or Parquet or Arrow IPC as Hugging Face's datasets have them (image {bytes, path}, label). Equal images and
options give equal files. The samples of a shard that is packed again stay together when they are shuffled.

Example:
  mocostream pack --data photos --out shards --labels --shuffle
  mocostream pack --data photos --out s3://bucket/photos --format parquet`
}

// Run implements the command.
func (c packCommand) Run(term *terminal) error {
	if c.ShardSamples < 0 {
		return usage("--shard-samples %d: name a number of images, or 0 for no limit", c.ShardSamples)
	}
	var result pack.Result
	err := term.interruptible(func(ctx context.Context) (err error) {
		result, err = c.pack(ctx, term)
		return err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(term.out, map[string]any{
			"out": c.Out, "format": c.Format, "shards": len(result.Shards), "images": result.Samples,
			"bytes": result.Bytes, "skipped": result.Skipped,
		})
	}
	_, err = fmt.Fprintf(term.out, "%s: %d images in %d shards of %d bytes together\n", c.Out, result.Samples, len(result.Shards), result.Bytes)
	return err
}

func (c packCommand) pack(ctx context.Context, term *terminal) (pack.Result, error) {
	src, closeSource, err := openPacked(c.Data, c.Labels, term)
	if err != nil {
		return pack.Result{}, err
	}
	defer closeSource()
	if _, err := src.Manifest(ctx); err != nil { // before a folder is made for it
		return pack.Result{}, err
	}
	to, err := c.openDestination(term)
	if err != nil {
		return pack.Result{}, err
	}
	return pack.Write(ctx, src, to, pack.Options{
		Format: c.Format, MaxShardBytes: int64(c.ShardSize), MaxSamples: c.ShardSamples, Labels: c.Labels,
		Shuffle: c.Shuffle, Seed: c.Seed, Pattern: c.Name, MaxBytes: pack.MaxImage,
		Skipped: func(key, reason string) {
			fmt.Fprintf(term.err, "mocostream: warning: %q is left out: %s\n", key, reason)
		},
	})
}

// openPacked opens what is to be packed, with its list in a temporary folder.
func openPacked(path string, labels bool, term *terminal) (source, func(), error) {
	manifests, err := os.MkdirTemp("", "mocostream-pack-")
	if err != nil {
		return nil, nil, fmt.Errorf("make temporary folder: %w", err)
	}
	var src source
	if holdsShards(path) {
		warn := func(text string) { fmt.Fprintf(term.err, "mocostream: warning: %s\n", text) }
		src, err = shards.New(shards.Options{Path: path, ManifestDir: manifests, Labels: labels, MaxBytes: pack.MaxImage, Warn: warn})
	} else {
		src, err = dir.New(dir.Options{Root: path, ManifestDir: manifests, Labels: labels, MaxBytes: pack.MaxImage})
	}
	if err != nil {
		_ = os.RemoveAll(manifests)
		return nil, nil, err
	}
	return src, func() {
		_ = src.Close() // only read
		_ = os.RemoveAll(manifests)
	}, nil
}

// openDestination makes the place that shards go to.
func (c packCommand) openDestination(term *terminal) (pack.Destination, error) {
	if !strings.HasPrefix(c.Out, bucketScheme) {
		return pack.Folder(c.Out)
	}
	bucket, prefix, ok := config.Bucket(c.Out)
	if !ok {
		return nil, usage("--out %s: is no place in a bucket; write s3://bucket/prefix", c.Out)
	}
	client, err := c.client(term)
	if err != nil {
		return nil, err
	}
	prefix = strings.TrimSuffix(prefix, "/")
	for o, err := range client.List(term.ctx, bucket, strings.TrimPrefix(prefix+"/", "/"), "") {
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", c.Out, err)
		}
		return nil, usage("--out %s: holds objects already, as %s; name an empty prefix", c.Out, o.Key)
	}
	return pack.Upload("", func(ctx context.Context, name string, body io.ReadSeeker) error {
		_, err := client.Put(ctx, bucket, path.Join(prefix, name), body, objects.PutOptions{})
		return err
	}), nil
}

// byteSize is a flag such as 256MiB.
type byteSize int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	number, factor := string(text), int64(1)
	for _, unit := range []struct {
		name   string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}} {
		if rest, found := strings.CutSuffix(number, unit.name); found {
			number, factor = rest, unit.factor
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is no size; write one such as 256MiB", text)
	}
	*b = byteSize(n * factor)
	return nil
}
