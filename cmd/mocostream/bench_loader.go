package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/ingest"
	"mocostream/internal/flow"
	"mocostream/loader"
)

type benchLoaderCommand struct {
	Data    string  `required:"" placeholder:"DIR|SHARDS|s3://BUCKET/PREFIX" help:"Images: a folder, or shards (a file, a pattern, a folder of them), or a bucket of either."`
	Workers int     `help:"Goroutines that decode and augment; 0: one a processor."`
	Seconds float64 `default:"10" help:"How long to measure, after a second of warm-up."`
	Size    int     `default:"224" help:"Height and width of a view in pixels."`
	Recipe  string  `enum:"v1,v2" default:"v2" help:"Augmentation of MoCo v1 or v2."`
	Batch   int     `default:"64" help:"Images of a batch."`
	JSON    bool    `name:"json" help:"Print one JSON object on stdout."`
	bucketFlags
}

// Help is shown below the flags.
func (benchLoaderCommand) Help() string {
	return `Runs the loader and the augmentation pool of training over the data, again and again, and throws the batches away. An
image counts once and gives two views. Files come from the system's cache once all have been read.

Example:
  mocostream bench loader --data photos --seconds 20 --json`
}

// Run implements the command.
func (b benchLoaderCommand) Run(term *terminal) error {
	d, err := benchTime(b.Seconds)
	if err != nil {
		return err
	}
	c, err := b.config()
	if err != nil {
		return usageError{err}
	}
	src, closeSource, err := openData(term.ctx, b.Data, b.like(c))
	if err != nil {
		return err
	}
	defer closeSource()
	var result *throughput
	err = term.interruptible(func(ctx context.Context) (err error) {
		result, err = measureLoader(ctx, src, c, d)
		return err
	})
	if err != nil {
		return err
	}
	if b.JSON {
		return printJSON(term.out, result)
	}
	return result.print(term.out)
}

// config is training's, with a loader that passes over every bad image.
func (b benchLoaderCommand) config() (*config.Config, error) {
	return config.Load("", []string{
		fmt.Sprint("loader.workers=", b.Workers), "loader.max_bad_fraction=1", "loader.store_images=false",
		fmt.Sprint("augment.size=", b.Size), "augment.recipe=" + b.Recipe, fmt.Sprint("train.batch=", b.Batch),
	})
}

const (
	loaderWarmUp = time.Second
	loaderTick   = 20 * time.Millisecond // how often the warm-up looks whether it is over
)

// loaderBench consumes the batches of a pipeline.
type loaderBench struct {
	line     *pipeline
	governor *flow.Governor
	batches  <-chan augment.Batch
	bad      map[ingest.ID]bool
	taken    int
	waited   time.Duration // for batches
}

// measureLoader runs the pipeline over src for a warm-up and then for d.
func measureLoader(ctx context.Context, src source, c *config.Config, d time.Duration) (*throughput, error) {
	manifest, err := src.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	if manifest.Samples() == 0 {
		return nil, usage("no images in the data; name a folder with JPEG, PNG or WebP files, or tar shards of them")
	}
	b := &loaderBench{line: newPipeline(&session{config: c, in: &input{bounded: src, manifest: manifest}}, loader.Token{}), bad: map[ingest.ID]bool{}}
	if b.batches, err = b.line.start(ctx); err != nil {
		return nil, err
	}
	b.governor = b.line.governor(nil)
	stop := background(ctx, b.governor.Run)
	result, err := b.measure(ctx, manifest.Samples(), d)
	stop()
	var bad *loader.TooManyBadError
	switch stopErr := b.line.stop(); {
	case errors.As(stopErr, &bad):
		return nil, fmt.Errorf("none of %d images on end can be decoded", bad.Seen)
	case stopErr != nil: // the cause of whatever measure says
		return nil, stopErr
	}
	return result, err
}

func (b *loaderBench) measure(ctx context.Context, images int64, d time.Duration) (*throughput, error) {
	err := b.consume(ctx, loaderWarmUp, func() (bool, error) { return b.warm(images) })
	if err != nil {
		return nil, err
	}
	before, err := b.snapshot()
	if err != nil {
		return nil, err
	}
	if err := b.consume(ctx, d, func() (bool, error) { return true, nil }); err != nil {
		return nil, err
	}
	after, err := b.snapshot()
	if err != nil {
		return nil, err
	}
	return b.since(after, before), nil
}

// warm says whether images come out; with nothing but bad ones they never will.
func (b *loaderBench) warm(images int64) (bool, error) {
	stats := b.line.pool.Stats()
	var bad uint64
	for _, n := range stats.Bad {
		bad += n
	}
	if stats.Images == 0 && bad >= uint64(images) {
		return false, fmt.Errorf("none of %d images can be decoded", images)
	}
	return stats.Images > 0, nil
}

// consume releases batches for d, and on until done.
func (b *loaderBench) consume(ctx context.Context, d time.Duration, done func() (bool, error)) error {
	timer, tick := time.NewTimer(d), time.NewTicker(loaderTick)
	defer timer.Stop()
	defer tick.Stop()
	for elapsed := false; ; {
		started := time.Now()
		select {
		case batch, ok := <-b.batches:
			if !ok {
				return errors.New("the loader ended")
			}
			b.waited += time.Since(started)
			b.release(batch)
			continue
		case <-timer.C:
			elapsed = true
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		b.waited += time.Since(started)
		if !elapsed {
			continue
		}
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
}

func (b *loaderBench) release(batch augment.Batch) {
	for _, letter := range batch.Dead {
		b.bad[letter.ID] = true
	}
	b.taken++
	batch.Release()
}

// loaderSnapshot is the state of all counters at one instant.
type loaderSnapshot struct {
	cpu    time.Duration
	totals flow.Totals
	fetch  loader.Stats
	images uint64
	taken  int
	waited time.Duration
}

func (b *loaderBench) snapshot() (loaderSnapshot, error) {
	cpu, err := processTime()
	return loaderSnapshot{
		cpu: cpu, totals: b.line.totals(nil), fetch: b.line.loader.Stats(), images: b.line.pool.Stats().Images, taken: b.taken, waited: b.waited,
	}, err
}

// The stages of bench loader. Shares are of the time measured, 0..1.
type (
	fetchStage struct {
		flow.Stage
		Readers     float64 `json:"readers_busy"` // mean number of reads going on
		WaitBudget  float64 `json:"wait_budget"`  // loader.memory_limit was reached
		BytesSecond float64 `json:"bytes_per_second"`
		Rereads     uint64  `json:"rereads"`
	}
	batchStage struct {
		flow.Stage
		Size      int     `json:"size"`
		PerSecond float64 `json:"per_second"`
		Consumer  float64 `json:"wait_consumer"` // nobody had a batch to throw away
	}
)

// since works out what happened between two snapshots.
func (b *loaderBench) since(s, before loaderSnapshot) *throughput {
	f := s.totals.Since(before.totals)
	rate := func(n float64) float64 { return ratio(n, f.Seconds) }
	stages := map[string]any{}
	for _, stage := range f.Stages {
		switch stage.Name {
		case flow.Fetch:
			stages[stage.Name] = fetchStage{
				Stage: stage, Readers: stage.Busy * float64(stage.Workers), WaitBudget: f.Memory,
				BytesSecond: rate(float64(s.fetch.Bytes - before.fetch.Bytes)), Rereads: s.fetch.Rereads - before.fetch.Rereads,
			}
		case flow.Batch:
			stages[stage.Name] = batchStage{
				Stage: stage, Size: b.line.session.config.Train.Batch,
				PerSecond: rate(float64(s.taken - before.taken)), Consumer: rate((s.waited - before.waited).Seconds()),
			}
		default:
			stages[stage.Name] = stage
		}
	}
	work, _ := f.Stage(flow.Augment)
	t := &throughput{Workers: work.Workers, BadImages: len(b.bad), JPEG: jpegName(), Stages: stages}
	t.rates(s.images-before.images, s.totals.At.Sub(before.totals.At), s.cpu-before.cpu)
	t.Bottleneck = f.Judge(b.governor.Means).Words + t.shared(work.Busy)
	return t
}
