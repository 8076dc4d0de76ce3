package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/ingest"
	"mocostream/ingest/dir"
	"mocostream/internal/reuse"
	"mocostream/loader"
	"mocostream/train"
	"mocostream/train/eval"
)

// manifests is the sub-folder of a run folder that keeps the lists of its sources.
const manifests = "manifests"

// openLabelled opens a folder with a sub-folder a class.
func openLabelled(ctx context.Context, root, manifestDir string, limits augment.Limits) (eval.Source, func() error, error) {
	src, err := dir.New(dir.Options{Root: root, ManifestDir: manifestDir, Labels: true, MaxBytes: int64(limits.WithDefaults().MaxBytes)})
	if err != nil {
		return eval.Source{}, nil, err
	}
	classes, err := src.Classes(ctx)
	if err != nil {
		src.Close()
		return eval.Source{}, nil, err
	}
	return eval.Source{Bounded: src, Classes: classes}, src.Close, nil
}

func limitsOf(c *config.Config) augment.Limits {
	l := c.Loader.Limits
	return augment.Limits{
		MaxBytes: int(l.MaxBytes), MaxPixels: l.MaxPixels, MaxSide: l.MaxSide, MinSide: l.MinSide, MaxScans: l.MaxScans,
	}
}

// recipeOf is the recipe with what the configuration sets differently.
func recipeOf(c *config.Config) (*augment.MoCo, error) {
	a := c.Augment
	o := augment.MoCoV2(a.Size)
	if a.Recipe == "v1" {
		o = augment.MoCoV1(a.Size)
	}
	set(&o.CropScale, a.CropScale)
	set(&o.CropRatio, a.CropRatio)
	set(&o.Brightness, a.Brightness)
	set(&o.Contrast, a.Contrast)
	set(&o.Saturation, a.Saturation)
	set(&o.Hue, a.Hue)
	set(&o.JitterProbability, a.JitterProbability)
	set(&o.GrayProbability, a.GrayProbability)
	set(&o.BlurProbability, a.BlurProbability)
	set(&o.BlurSigma, a.BlurSigma)
	set(&o.FlipProbability, a.FlipProbability)
	o.Limits = limitsOf(c)
	return augment.NewMoCo(o)
}

// set overwrites to where the configuration has a value.
func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func loaderOptions(c *config.Config, start loader.Token) loader.Options {
	l := c.Loader
	start.Position = start.Taken()
	return loader.Options{
		Seed: c.Train.Seed, Shuffle: true, ShuffleWindow: l.Shuffle.Window, ShuffleBuffer: l.Shuffle.Buffer,
		Fetchers: l.Fetchers, MemoryLimit: l.MemoryLimit, MaxBytes: l.Limits.MaxBytes, Start: start.Clone(),
		GroupBy: ingest.GroupBy(c.Ingest.Source), Allocator: reuse.New(),
	}
}

// replayOptions are the buffer's; the configuration is a resolved one.
func replayOptions(c *config.Config, start loader.Token) loader.ReplayOptions {
	r, batch := c.Loader.Replay, c.Train.Batch
	o := loader.ReplayOptions{
		Policy: r.Policy, Size: r.Size, Bytes: r.Bytes, Window: uint64(r.Window),
		Rate: r.UpdatesPerSample, Fill: r.Fill, Fresh: r.Fresh, Batch: batch, PerGroup: r.PerSourceBatch, Delay: r.Delay,
		Bad: badRule(c), Memory: r.Memory, Seed: c.Train.Seed, Start: start.Clone(), Allocator: reuse.New(),
	}
	if o.Fill == 0 {
		o.Fill = min(4*batch, r.Size)
	}
	if o.Delay == 0 {
		o.Delay = loader.AutoDelay(batch, o.Bad)
	}
	return o
}

func badRule(c *config.Config) loader.BadRule {
	return loader.BadRule{MaxFraction: c.Loader.MaxBadFraction, Window: c.Loader.BadWindow}
}

func poolOptions(c *config.Config, start loader.Token) augment.PoolOptions {
	l := c.Loader
	return augment.PoolOptions{
		Workers: workersOf(l), Batch: c.Train.Batch, Size: c.Augment.Size, Seed: c.Train.Seed,
		Bad:   badRule(c),
		Start: start.Clone(), KeepDeadImages: l.StoreImages,
	}
}

// workersOf is how many workers there may be.
func workersOf(l config.Loader) int {
	processors := runtime.GOMAXPROCS(0)
	switch {
	case l.Workers > 0:
		return l.Workers
	case l.CPULimit > 0:
		return l.CPULimit
	case processors > 4:
		return processors - 1
	}
	return processors
}

func encoderOptions(t config.Train) train.EncoderOptions {
	return train.EncoderOptions{
		Arch: t.Arch, Width: t.Width, Stem: t.Stem, Head: t.Head, Dim: t.Dim, Activation: t.Activation,
	}
}

func floats32(x [3]float64) [3]float32 {
	return [3]float32{float32(x[0]), float32(x[1]), float32(x[2])}
}

// trainOptions turns a resolved configuration into the trainer's for a source of so many images. Rows of a bank are left
// to who knows the source's list.
func trainOptions(c *config.Config, images int64) train.Options {
	t := c.Train
	o := train.Options{
		Encoder: encoderOptions(t), Mechanism: train.Mechanism(t.Mechanism), Size: c.Augment.Size, Batch: t.Batch,
		K: t.K, M: t.M, T: t.T, Symmetric: t.Symmetric, Accumulate: t.Accumulate, Bank: train.BankOptions{Momentum: t.BankMomentum},
		Align: train.AlignOptions{Weight: t.Align.Weight, Momentum: t.Align.Momentum, Replayed: c.Loader.Replay.On()},
		Mask:  train.Mask(t.Queue.Mask), Duplicate: t.Queue.Distance, WarmMasked: t.Queue.Warm == config.WarmMasked,
		BN: train.BatchNorm(t.BN), Groups: t.BNGroups, Devices: t.Devices, Precision: train.Precision(t.Precision),
		Mean: floats32(c.Augment.Mean), Std: floats32(c.Augment.Std), Seed: t.Seed,
		Queries: c.Loader.Replay.Policy == loader.ReplayMinRedundancy,
		Optimizer: train.OptimizerOptions{
			Name: t.Optimizer.Name, Momentum: t.Optimizer.Momentum, WeightDecay: t.Optimizer.WeightDecay,
			Beta1: t.Optimizer.Beta1, Beta2: t.Optimizer.Beta2, Epsilon: t.Optimizer.Eps,
			ExcludeNormBias: t.Optimizer.ExcludeNormBias, ClipNorm: t.Optimizer.ClipNorm,
		},
		Schedule: train.ScheduleOptions{
			Name: t.Schedule.Name, Base: t.Optimizer.LR, Warmup: int64(t.Schedule.WarmupSteps), Gamma: t.Schedule.Gamma,
			Decay: int64(t.Schedule.DecaySteps),
			Steps: totalSteps(c, images), StepsPerEpoch: max(images/int64(t.Batch), 1),
		},
	}
	for _, epoch := range t.Schedule.Milestones {
		o.Schedule.Milestones = append(o.Schedule.Milestones, int64(epoch))
	}
	return o
}

// resolved is the configuration with numbers in place of auto, for a source of so many images.
func resolved(c *config.Config, images int64) *config.Config {
	r := *c
	if r.Train.Batch == 0 {
		r.Train.Batch = train.AutoBatch(images)
	}
	if r.Train.K == 0 {
		r.Train.K = train.AutoK(images, keysOf(r.Train))
	}
	if r.Train.BNGroups == 0 {
		r.Train.BNGroups = train.AutoGroups(r.Train.Batch/r.Train.Accumulate, r.Train.Devices)
	}
	if r.Train.Schedule.DecaySteps == 0 {
		total := totalSteps(&r, images)
		r.Train.Schedule.DecaySteps = int(max(min(total/5, total-int64(r.Train.Schedule.WarmupSteps)), 1))
	}
	return &r
}

// keysOf is how many keys a step brings.
func keysOf(t config.Train) int {
	if t.Symmetric {
		return 2 * t.Batch
	}
	return t.Batch
}

// totalSteps is the length of the run, 0 if it has no end: batches run on across the ends of epochs.
func totalSteps(c *config.Config, images int64) int64 {
	if c.Train.Steps > 0 {
		return int64(c.Train.Steps)
	}
	if c.Ingest.Stream() != "" {
		return 0
	}
	batch, samples := int64(c.Train.Batch), int64(c.Train.Epochs)*images
	if c.Loader.Replay.On() {
		samples = int64(float64(samples) * c.Loader.Replay.UpdatesPerSample)
	}
	return (samples + batch - 1) / batch
}

// evalBatch is how many images the encoder is given at a time in evaluation.
const evalBatch = 64

func embedderOptions(c *config.Config) train.EmbedderOptions {
	return train.EmbedderOptions{
		Encoder: encoderOptions(c.Train), Size: c.Augment.Size, Batch: evalBatch,
		Mean: floats32(c.Augment.Mean), Std: floats32(c.Augment.Std),
	}
}

func evalOptions(c *config.Config) eval.Options {
	return eval.Options{
		Size: c.Augment.Size, Batch: evalBatch, Limits: limitsOf(c),
		Workers: workersOf(c.Loader), MemoryLimit: c.Loader.MemoryLimit,
	}
}

// configOf rebuilds the configuration that a checkpoint was made with, paths left out.
func configOf(ck *train.Checkpoint) (*config.Config, error) {
	var sets []string
	for _, key := range slices.Sorted(maps.Keys(ck.Config)) {
		sets = append(sets, key+"="+ck.Config[key])
	}
	c, err := config.Load("", sets)
	if err != nil {
		return nil, fmt.Errorf("configuration of the checkpoint: %v", err) // %v: not the user's configuration
	}
	return c, nil
}

func manifestDir(runDir string) string { return filepath.Join(runDir, manifests) }
