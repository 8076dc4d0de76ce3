package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/train"
)

type benchStepCommand struct {
	Arch       string `default:"resnet18" help:"Encoder, as train.arch."`
	Width      int    `default:"16" help:"Channels of the encoder's first stage; torchvision's is 64."`
	Stem       string `default:"cifar" help:"First layers: imagenet or cifar."`
	Size       int    `default:"32" help:"Height and width of a view in pixels."`
	Batch      int    `default:"64" help:"Images a step."`
	K          int    `default:"4096" help:"Length of the queue."`
	BNGroups   int    `name:"bn-groups" default:"4" help:"BatchNorm groups of a batch."`
	Accumulate int    `default:"1" help:"Parts that a batch is computed in."`
	Devices    int    `default:"1" help:"Devices that share a batch (XLA)."`
	Steps      int    `default:"10" help:"Steps to measure, after two of warm-up."`
	Backend    string `default:"auto" help:"As train.backend."`
	Precision  string `default:"f32" help:"Number format: f32, or bf16 (XLA only)."`
	JSON       bool   `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (benchStepCommand) Help() string {
	return `Compiles the training step and runs it on random pixels. Times are medians over the steps; an image is two views.

Example:
  mocostream bench step --arch resnet18 --width 64 --size 32 --batch 256 --json`
}

const stepWarmUp = 2

// stepFigures is what bench step prints.
type stepFigures struct {
	ImagesPerSecond float64 `json:"images_per_second"` // by the median
	ImagesPerCPU    float64 `json:"images_per_cpu_second"`
	MsPerStep       float64 `json:"ms_per_step"` // median
	MsMin           float64 `json:"ms_min"`
	MsMax           float64 `json:"ms_max"`
	PeakRSS         int64   `json:"peak_rss_bytes"` // of the process so far, compilation included
	BytesAllocated  uint64  `json:"bytes_allocated_per_step"`
	Backend         string  `json:"backend"`
	Why             string  `json:"why"`
	CompileSeconds  float64 `json:"compile_seconds"`
	Arch            string  `json:"arch"`
	Width           int     `json:"width"`
	Stem            string  `json:"stem"`
	Size            int     `json:"size"`
	Batch           int     `json:"batch"`
	K               int     `json:"k"`
	BNGroups        int     `json:"bn_groups"`
	Accumulate      int     `json:"accumulate"`
	Steps           int     `json:"steps"`
	Precision       string  `json:"precision"`
	Devices         int     `json:"devices"`
}

// Run implements the command.
func (b benchStepCommand) Run(term *terminal) error {
	o, err := b.options()
	if err != nil {
		return usageError{err}
	}
	backend, err := train.OpenBackend(b.Backend)
	if err != nil {
		return err
	}
	defer backend.Finalize()
	if backend.Advice != "" {
		fmt.Fprintf(term.err, "mocostream: a faster backend could be used: %s\n", backend.Advice)
	}
	var figures *stepFigures
	err = term.interruptible(func(ctx context.Context) (err error) {
		figures, err = b.measure(ctx, backend, o)
		return err
	})
	if err != nil {
		return err
	}
	if b.JSON {
		return printJSON(term.out, figures)
	}
	return figures.print(term.out)
}

// options are the trainer's, checked as training checks its configuration.
func (b benchStepCommand) options() (train.Options, error) {
	if b.Steps < 1 {
		return train.Options{}, fmt.Errorf("--steps %d: use at least 1", b.Steps)
	}
	c, err := config.Load("", []string{
		"train.arch=" + b.Arch, fmt.Sprint("train.width=", b.Width), "train.stem=" + b.Stem,
		fmt.Sprint("augment.size=", b.Size), fmt.Sprint("train.batch=", b.Batch), fmt.Sprint("train.k=", b.K),
		fmt.Sprint("train.bn_groups=", b.BNGroups), fmt.Sprint("train.accumulate=", b.Accumulate), "train.precision=" + b.Precision,
		fmt.Sprint("train.devices=", b.Devices),
		"train.schedule.name=constant", fmt.Sprint("train.steps=", stepWarmUp+b.Steps),
	})
	if err != nil {
		return train.Options{}, err
	}
	o := trainOptions(c, int64(b.K))
	return o, o.Validate()
}

func (b benchStepCommand) measure(ctx context.Context, backend *train.Backend, o train.Options) (*stepFigures, error) {
	trainer, err := train.New(backend, o)
	if err != nil {
		return nil, usageError{err}
	}
	defer trainer.Close()
	started := time.Now()
	if err := trainer.Compile(); err != nil {
		return nil, err
	}
	f := &stepFigures{
		Backend: backend.Config, Why: backend.Why, CompileSeconds: time.Since(started).Seconds(),
		Arch: b.Arch, Width: b.Width, Stem: b.Stem, Size: b.Size, Batch: b.Batch, K: b.K, BNGroups: b.BNGroups, Accumulate: b.Accumulate,
		Steps: b.Steps, Precision: b.Precision, Devices: b.Devices,
	}
	if _, err := timeSteps(ctx, trainer, stepWarmUp); err != nil {
		return nil, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	busy, err := processTime()
	if err != nil {
		return nil, err
	}
	times, err := timeSteps(ctx, trainer, b.Steps)
	if err != nil {
		return nil, err
	}
	until, err := processTime()
	if err != nil {
		return nil, err
	}
	runtime.ReadMemStats(&after)
	f.ImagesPerCPU = ratio(float64(b.Batch*b.Steps), (until - busy).Seconds())
	f.BytesAllocated = (after.TotalAlloc - before.TotalAlloc) / uint64(b.Steps)
	f.times(times)
	f.PeakRSS, err = peakMemory()
	return f, err
}

// timeSteps takes n steps on random pixels and returns how long each took.
func timeSteps(ctx context.Context, trainer *train.Trainer, n int) ([]time.Duration, error) {
	o := trainer.Options()
	query, key := noise(o, 1), noise(o, 2)
	times := make([]time.Duration, n)
	for i := range times {
		batch, err := augment.NewBatch(o.Size, query, key)
		if err != nil {
			return nil, err
		}
		started := time.Now()
		if _, err := trainer.Step(ctx, batch); err != nil {
			return nil, err
		}
		times[i] = time.Since(started)
	}
	return times, nil
}

// noise is a batch of random pixels.
func noise(o train.Options, seed uint64) []byte {
	pixels := make([]byte, o.Batch*o.Size*o.Size*3)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range pixels {
		pixels[i] = byte(rng.Uint32())
	}
	return pixels
}

func (f *stepFigures) times(times []time.Duration) {
	slices.Sort(times)
	n := len(times)
	median := (times[(n-1)/2] + times[n/2]) / 2
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	f.MsPerStep, f.MsMin, f.MsMax = ms(median), ms(times[0]), ms(times[n-1])
	f.ImagesPerSecond = ratio(float64(f.Batch), median.Seconds())
}

func (f *stepFigures) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, `%.1f images/s, %.1f ms a step (%.1f to %.1f), %.1f images per second of processor time, compiled in %.1f s
peak memory %d MiB, %.1f MiB allocated a step
backend %s: %s
`, f.ImagesPerSecond, f.MsPerStep, f.MsMin, f.MsMax, f.ImagesPerCPU, f.CompileSeconds, f.PeakRSS>>20, float64(f.BytesAllocated)/(1<<20), f.Backend, f.Why)
	return err
}
