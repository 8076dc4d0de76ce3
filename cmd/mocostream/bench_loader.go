package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/ingest"
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
	line    *pipeline
	batches <-chan augment.Batch
	bad     map[ingest.ID]bool
	taken   int
	waited  time.Duration // for batches
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
	result, err := b.measure(ctx, manifest.Samples(), d)
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
	return after.since(before, len(b.bad), b.line.session.config.Train.Batch), nil
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
	at     time.Time
	cpu    time.Duration
	fetch  loader.Stats
	pool   augment.Stats
	taken  int
	waited time.Duration
}

func (b *loaderBench) snapshot() (loaderSnapshot, error) {
	cpu, err := processTime()
	return loaderSnapshot{
		at: time.Now(), cpu: cpu, fetch: b.line.loader.Stats(), pool: b.line.pool.Stats(), taken: b.taken, waited: b.waited,
	}, err
}

// The stages of bench loader. Shares are of the time measured, 0..1.
type (
	fetchStage struct {
		Readers     float64 `json:"readers_busy"` // mean number of reads going on
		WaitBudget  float64 `json:"wait_budget"`  // loader.memory_limit was reached
		WaitOutput  float64 `json:"wait_output"`  // a sample was ready and no worker free
		BytesSecond float64 `json:"bytes_per_second"`
		Rereads     uint64  `json:"rereads"`
	}
	augmentStage struct {
		Busy       float64 `json:"busy"`        // of all workers' time
		WaitInput  float64 `json:"wait_input"`  // a worker was idle and no sample there
		WaitOutput float64 `json:"wait_output"` // a worker was idle and no buffer free
	}
	batchStage struct {
		Size      int     `json:"size"`
		PerSecond float64 `json:"per_second"`
		WaitInput float64 `json:"wait_input"`
	}
)

// since works out what happened between two snapshots.
func (s loaderSnapshot) since(before loaderSnapshot, bad, batch int) *throughput {
	wall := s.at.Sub(before.at)
	share := func(d time.Duration) float64 { return ratio(d.Seconds(), wall.Seconds()) }
	fetch := fetchStage{
		Readers:     share(s.fetch.Source - before.fetch.Source),
		WaitBudget:  min(share(s.fetch.BudgetWait-before.fetch.BudgetWait), 1),
		WaitOutput:  min(share(s.fetch.ConsumerWait-before.fetch.ConsumerWait), 1),
		BytesSecond: ratio(float64(s.fetch.Bytes-before.fetch.Bytes), wall.Seconds()),
		Rereads:     s.fetch.Rereads - before.fetch.Rereads,
	}
	work := augmentStage{
		Busy:       min(share(s.pool.Busy-before.pool.Busy)/float64(s.pool.Workers), 1), // a job counts when it ends
		WaitInput:  share(s.pool.WaitInput - before.pool.WaitInput),
		WaitOutput: share(s.pool.WaitOutput - before.pool.WaitOutput),
	}
	t := &throughput{Workers: s.pool.Workers, BadImages: bad, JPEG: jpegName(), Stages: map[string]any{
		"fetch": fetch, "augment": work,
		"batch": batchStage{Size: batch, PerSecond: ratio(float64(s.taken-before.taken), wall.Seconds()), WaitInput: share(s.waited - before.waited)},
	}}
	t.rates(s.pool.Images-before.pool.Images, wall, s.cpu-before.cpu)
	t.Bottleneck = loaderBottleneck(t, fetch, work)
	return t
}

// loaderBottleneck names in a sentence what limits the throughput.
func loaderBottleneck(t *throughput, fetch fetchStage, work augmentStage) string {
	switch {
	case work.Busy >= 0.8 || work.Busy >= work.WaitInput && work.Busy >= work.WaitOutput:
		return t.busy("augmentation", work.Busy)
	case work.WaitInput >= work.WaitOutput && fetch.WaitBudget > 0.5:
		return fmt.Sprintf("memory: workers wait for images %.0f %% of the time while reading stands still at loader.memory_limit; raise it",
			100*work.WaitInput)
	case work.WaitInput >= work.WaitOutput:
		return fmt.Sprintf("reading: workers wait for images %.0f %% of the time; a faster disk or tar shards would help",
			100*work.WaitInput)
	}
	return fmt.Sprintf("batches: workers wait for a free buffer %.0f %% of the time; a smaller --batch would help", 100*work.WaitOutput)
}
