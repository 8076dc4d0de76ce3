package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"mocostream/config"
	"mocostream/ingest"
	"mocostream/ingest/dir"
	"mocostream/ingest/shards"
	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"

	"go.uber.org/zap"
)

// windowFile is the file of a checkpoint that holds what loader.dedupe remembers.
const windowFile = "dedupe.bin"

// unbounded stands for the number of images of a source without an end.
const unbounded = int64(1) << 40

// source is a bounded source that can be closed.
type source interface {
	ingest.Bounded
	Close() error
}

// feed is a source without an end, with what it keeps in a checkpoint.
type feed interface {
	ingest.Stream
	// seal adds the state of the source, as of the checkpoint's token, to it.
	seal(c *train.Checkpoint) error
	// saved is told of the checkpoint's name once it is durable.
	saved(ctx context.Context, name string, done ingest.Progress)
	Close() error
}

// input is where the samples of a run come from: a source with an end, one without, or the first and then the second.
type input struct {
	bounded  source           // nil: none
	manifest *ingest.Manifest // of bounded
	feed     feed             // nil: none
	window   *loader.Window   // nil: nothing is passed over
	epochs   int64            // of bounded, before feed
	ledger   *sink.Ledger     // nil: none is kept
}

// openInput opens what a run reads. from, if not nil, is the checkpoint to go on from.
func openInput(ctx context.Context, c *config.Config, log *zap.Logger, from *train.Checkpoint) (in *input, err error) {
	in = &input{epochs: int64(c.Ingest.SequenceEpochs)}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close())
			in = nil
		}
	}()
	if c.Ingest.Bounded() != "" {
		if err = in.openBounded(ctx, c, log, from); err != nil {
			return in, err
		}
	}
	if c.Ingest.Stream() == "" {
		return in, nil
	}
	if in.feed, err = openFeed(ctx, c, log, from); err != nil {
		return in, err
	}
	return in, in.openWindow(c, from)
}

func (in *input) openBounded(ctx context.Context, c *config.Config, log *zap.Logger, from *train.Checkpoint) (err error) {
	hash := ""
	if from != nil && from.Token.Progress.Bounded != nil {
		hash = from.Token.Progress.Bounded.Source
	}
	if in.bounded, err = openSource(ctx, c, manifestDir(c.Sink.Dir), hash, log); err != nil {
		return err
	}
	if in.manifest, err = in.bounded.Manifest(ctx); err != nil {
		return err
	}
	log.Info("source", zap.Int64("images", in.manifest.Samples()), zap.Int32("files", in.manifest.Len()),
		zap.String("manifest", in.manifest.Hash()[:12]))
	return nil
}

// openWindow makes the memory of loader.dedupe, with what the checkpoint remembers.
func (in *input) openWindow(c *config.Config, from *train.Checkpoint) (err error) {
	if c.Loader.Dedupe == "none" {
		return nil
	}
	if in.window, err = loader.NewWindow(c.Loader.Dedupe, c.Loader.DedupeWindow); err != nil {
		return err
	}
	return readState(from, windowFile, in.window.Restore)
}

// readState hands a file of a checkpoint to read, if there is a checkpoint and it has one.
func readState(from *train.Checkpoint, name string, read func(io.Reader) error) error {
	if from == nil {
		return nil
	}
	f, err := from.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := read(f); err != nil {
		return fmt.Errorf("%s of the checkpoint: %w", name, err)
	}
	return nil
}

// images is the number of images of one pass, unbounded where there is no end.
func (in *input) images() int64 {
	if in.feed != nil {
		return unbounded
	}
	return in.manifest.Samples()
}

// perPass is images, 0 where there is no end.
func (in *input) perPass() int64 {
	if in.feed != nil {
		return 0
	}
	return in.manifest.Samples()
}

// sampleLoader puts samples into training order.
type sampleLoader interface {
	Run(ctx context.Context, out chan<- loader.Sample) error
	Stats() loader.Stats
}

func (in *input) loader(o loader.Options) sampleLoader {
	o.Window = in.window
	if in.ledger != nil {
		o.Repeated = in.ledger.Repeated
	}
	switch {
	case in.feed == nil:
		return loader.NewBounded(pointedSource{in.bounded}, o)
	case in.bounded == nil:
		return loader.NewStream(in.stream(), o)
	}
	o.Epochs = in.epochs
	return loader.NewSequence(pointedSource{in.bounded}, in.stream(), o)
}

// stream is the feed, with what it passes over in the ledger where there is one.
func (in *input) stream() ingest.Stream {
	if in.ledger == nil {
		return pointedStream{in.feed}
	}
	return in.ledger.Stream(pointedStream{in.feed})
}

// finished is told of the token of every finished step.
func (in *input) finished(position uint64) {
	if in.window != nil {
		in.window.Settle(position)
	}
}

// seal adds to a checkpoint what the source needs to go on from it.
func (in *input) seal(c *train.Checkpoint) error {
	if in.window != nil {
		addFile(c, windowFile, in.window.At(c.Token.Taken()))
	}
	if in.feed != nil {
		return in.feed.seal(c)
	}
	return nil
}

func addFile(c *train.Checkpoint, name string, content io.WriterTo) {
	if c.Files == nil {
		c.Files = map[string]io.WriterTo{}
	}
	c.Files[name] = content
}

func (in *input) saved(ctx context.Context, name string, done ingest.Progress) {
	if in.feed != nil {
		in.feed.saved(ctx, name, done)
	}
}

// Close closes what was opened.
func (in *input) Close() error {
	var errs []error
	if in.feed != nil {
		errs = append(errs, in.feed.Close())
	}
	if in.bounded != nil {
		errs = append(errs, in.bounded.Close())
	}
	return errors.Join(errs...)
}

// openSource opens the source with an end that the configuration names; hash is the manifest to read, "" lists anew.
func openSource(ctx context.Context, c *config.Config, manifestDir, hash string, log *zap.Logger) (source, error) {
	switch c.Ingest.Bounded() {
	case config.SourceS3:
		return openBucket(ctx, c, manifestDir, hash, log)
	case config.SourceShards:
		return shards.New(shards.Options{
			Path: c.Ingest.Shards, ManifestDir: manifestDir, ManifestHash: hash,
			Labels: c.Ingest.Labels, MaxBytes: c.Loader.Limits.MaxBytes,
			ImageColumn: c.Ingest.ImageColumn, LabelColumn: c.Ingest.LabelColumn, Warn: warner(log),
		})
	}
	return dir.New(dir.Options{
		Root: c.Ingest.Dir, ManifestDir: manifestDir, ManifestHash: hash,
		Labels: c.Ingest.Labels, MaxBytes: c.Loader.Limits.MaxBytes,
	})
}
