package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/loader"
	"mocostream/train"
)

type benchFeedCommand struct {
	Data    string `required:"" placeholder:"DIR|SHARDS|s3://BUCKET/PREFIX" help:"Images, as bench loader."`
	Workers []int  `default:"0" help:"Numbers of goroutines that decode and augment, measured one after the other; 0: one a processor."`
	benchStepCommand
	bucketFlags
}

// Help is shown below the flags.
func (benchFeedCommand) Help() string {
	return `Compiles the training step once and feeds it from the data, again and again, with each number of workers: how fast both
are together, and what share of the time the step waits for images.

Example:
  mocostream bench feed --data photos --workers 16,8,4 --arch resnet50 --width 64 --stem imagenet --size 224 --batch 256 --k 65536`
}

// feedFigures is what bench feed prints of a number of workers.
type feedFigures struct {
	Workers         int     `json:"workers"`
	ImagesPerSecond float64 `json:"images_per_second"`
	DataWait        float64 `json:"data_wait"` // share of the time that no batch was there
	Processors      float64 `json:"processors_used"`
	Steps           int     `json:"steps"`
}

// Run implements the command.
func (b benchFeedCommand) Run(term *terminal) error {
	o, err := b.options()
	if err != nil {
		return usageError{err}
	}
	backend, err := train.OpenBackend(b.Backend)
	if err != nil {
		return err
	}
	defer backend.Finalize()
	trainer, err := train.New(backend, o)
	if err != nil {
		return usageError{err}
	}
	defer trainer.Close()
	var all []feedFigures
	err = term.interruptible(func(ctx context.Context) error {
		if err := trainer.Compile(); err != nil {
			return err
		}
		for _, workers := range b.Workers {
			figures, err := b.feed(ctx, trainer, workers)
			if err != nil {
				return err
			}
			all = append(all, figures)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if b.JSON {
		return printJSON(term.out, all)
	}
	return printFeed(term.out, all)
}

// feed measures the trainer on what so many workers make of the data.
func (b benchFeedCommand) feed(ctx context.Context, trainer *train.Trainer, workers int) (feedFigures, error) {
	c, err := config.Load("", []string{
		fmt.Sprint("loader.workers=", workers), "loader.max_bad_fraction=1", "loader.store_images=false",
		fmt.Sprint("augment.size=", b.Size), fmt.Sprint("train.batch=", b.Batch),
	})
	if err != nil {
		return feedFigures{}, usageError{err}
	}
	src, closeSource, err := openData(ctx, b.Data, b.like(c))
	if err != nil {
		return feedFigures{}, err
	}
	defer closeSource()
	manifest, err := src.Manifest(ctx)
	if err != nil {
		return feedFigures{}, err
	}
	if manifest.Samples() == 0 {
		return feedFigures{}, usage("no images in the data; name a folder with JPEG, PNG or WebP files, or tar shards of them")
	}
	line := newPipeline(&session{config: c, in: &input{bounded: src, manifest: manifest}}, loader.Token{})
	figures, err := b.take(ctx, trainer, line)
	if stopErr := line.stop(); stopErr != nil { // the cause of whatever take says
		return figures, stopErr
	}
	return figures, err
}

// take runs the steps on the pipeline's batches.
func (b benchFeedCommand) take(ctx context.Context, trainer *train.Trainer, line *pipeline) (f feedFigures, err error) {
	batches, err := line.start(ctx)
	if err != nil {
		return f, err
	}
	if trainer.CopiesAhead() { // as in training
		inner, cancel := context.WithCancel(ctx)
		copied := make(chan augment.Batch)
		var copier sync.WaitGroup
		from := batches
		copier.Go(func() { trainer.Ahead(inner, from, copied) })
		defer copier.Wait()
		defer cancel()
		batches = copied
	}
	var waited time.Duration
	var began time.Time
	var cpu time.Duration
	for i := range stepWarmUp + b.Steps {
		if i == stepWarmUp {
			if cpu, err = processTime(); err != nil {
				return f, err
			}
			waited, began = 0, time.Now()
		}
		asked := time.Now()
		batch, ok := <-batches
		if !ok {
			return f, fmt.Errorf("the loader ended after %d batches", i)
		}
		waited += time.Since(asked)
		if _, err := trainer.Step(ctx, batch); err != nil {
			return f, err
		}
	}
	wall := time.Since(began)
	used, err := processTime()
	return feedFigures{
		Workers: line.pool.Stats().Workers, Steps: b.Steps, DataWait: ratio(waited.Seconds(), wall.Seconds()),
		ImagesPerSecond: ratio(float64(b.Steps*b.Batch), wall.Seconds()), Processors: ratio((used - cpu).Seconds(), wall.Seconds()),
	}, err
}

func printFeed(w io.Writer, all []feedFigures) error {
	for _, f := range all {
		if _, err := fmt.Fprintf(w, "%d workers: %.1f images/s, the step waits %.1f %% of the time; %.2f processors used\n",
			f.Workers, f.ImagesPerSecond, 100*f.DataWait, f.Processors); err != nil {
			return err
		}
	}
	return nil
}
