package train

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"mocostream/internal/safetensors"
)

func TestStepReports(t *testing.T) {
	o := tiny()
	trainer := newTrainer(t, o)
	batches := input{images: 10}.open(t)
	for done := range int64(4) {
		b := <-batches
		r, err := trainer.Step(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if r.Step != done+1 || trainer.Steps() != done+1 {
			t.Errorf("step %d (trainer: %d), want %d", r.Step, trainer.Steps(), done+1)
		}
		if want := o.Schedule.Rate(done); r.LR != want {
			t.Errorf("step %d: rate %v, want %v", r.Step, r.LR, want)
		}
		// InfoNCE over K+1 classes of similarities in [-1, 1].
		if most := math.Log(float64(o.K+1)) + 2/o.T; !(r.Loss > 0 && r.Loss < most) {
			t.Errorf("step %d: loss %v, want it in (0, %v)", r.Step, r.Loss, most)
		}
		if !(r.GradNorm > 0) || !(math.Abs(r.Positive) <= 1.0001) || !(math.Abs(r.Negative) <= 1.0001) {
			t.Errorf("step %d: %+v", r.Step, r)
		}
		for _, top := range []float64{r.Top1, r.Top5} {
			if quarters := top * 4; quarters != math.Round(quarters) || quarters < 0 || quarters > 4 || r.Top5 < r.Top1 {
				t.Errorf("step %d: top-1 %v and top-5 %v, want shares of 4", r.Step, r.Top1, r.Top5)
			}
		}
		if !(r.Spread > 0 && r.Spread <= 1.0001) {
			t.Errorf("step %d: spread is %v, want it in (0, 1]", r.Step, r.Spread)
		}
		if !(r.EffectiveRank > .999 && r.EffectiveRank < 3.001) { // four queries, less their mean
			t.Errorf("step %d: effective rank is %v, want it in [1, 3]", r.Step, r.EffectiveRank)
		}
		// A queue of 6, batches of 4: keys of ages 1; then 1 and, two of them, 2.
		if want := []float64{0, 1, 8. / 6, 8. / 6}[done]; r.QueueAge != want {
			t.Errorf("step %d: queue age is %v, want %v", r.Step, r.QueueAge, want)
		}
	}
}

// The key encoder of the first step is the query encoder; with one BatchNorm group and equal views, keys equal queries.
func TestFirstKeysEqualQueriesOfEqualViews(t *testing.T) {
	o := tiny()
	o.Groups = 1
	trainer := newTrainer(t, o)
	b := <-input{images: 10}.open(t)
	copy(b.Key(), b.Query())
	r, err := trainer.Step(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(r.Positive-1) > 1e-5 {
		t.Errorf("positive similarity %v, want 1", r.Positive)
	}
}

// Training lowers the loss: the same few images over and over.
func TestTrainingLearns(t *testing.T) {
	for name, o := range map[string]Options{"sgd": tiny(), "lars": tinyLARS(), "adamw": tinyAdamW()} {
		t.Run(name, func(t *testing.T) {
			o.Batch, o.K = 8, 16
			o.Schedule.Name = "constant"
			trainer := newTrainer(t, o)
			batches := input{images: 32, batch: 8}.open(t)
			mean := func(n int) (loss float64) {
				for range n {
					loss += steps(t, trainer, batches, 1).Loss / float64(n)
				}
				return loss
			}
			mean(10) // against the queue's random start, which is easy
			first := mean(15)
			mean(70)
			if last := mean(15); !(last < .9*first) {
				t.Errorf("loss went from %v to %v", first, last)
			}
		})
	}
}

// Step owns its batch, also on error; input fails the test for one that is kept.
func TestStepReleasesRefusedBatches(t *testing.T) {
	for name, c := range map[string]struct {
		in   input
		want string
	}{
		"size":      {input{images: 10, size: 9}, "step: batch of 4 views of 9 pixels, compiled for 4 of 8"},
		"too few":   {input{images: 10, batch: 3}, "step: batch of 3 views of 8 pixels, compiled for 4 of 8"},
		"cancelled": {input{images: 10}, context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			trainer := newTrainer(t, tiny())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "cancelled" {
				cancel()
			}
			batches := c.in.open(t)
			for range 5 { // more than the pool has buffers: a kept one would block
				_, err := trainer.Step(ctx, <-batches)
				if err == nil || err.Error() != c.want {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
			if trainer.Steps() != 0 {
				t.Errorf("%d steps are done, want none", trainer.Steps())
			}
		})
	}
}

func TestStepReleasesTheBatchOfAFailedCompilation(t *testing.T) {
	trainer := newTrainer(t, tiny())
	trainer.options.Encoder.Arch = "resnet18" // whose variables were never made
	_, err := trainer.Step(t.Context(), <-input{images: 10}.open(t))
	if err == nil || !strings.HasPrefix(err.Error(), "compile step: ") || !strings.Contains(err.Error(), `no variable "encoder_q/layer1.1.conv1.weight"`) {
		t.Errorf("got %v", err)
	}
}

func TestHugeRateIsNotFinite(t *testing.T) {
	for name, o := range map[string]Options{"sgd": tiny(), "adamw": tinyAdamW()} {
		for _, rate := range []float64{1e15, 1e25, 1e38} {
			t.Run(name, func(t *testing.T) {
				o := o
				o.Schedule = ScheduleOptions{Name: "constant", Base: rate}
				trainer := newTrainer(t, o)
				batches := input{images: 10}.open(t)
				for range 8 {
					r, err := trainer.Step(t.Context(), <-batches)
					if errors.Is(err, ErrNotFinite) {
						if !strings.Contains(err.Error(), "lower train.optimizer.lr") {
							t.Errorf("no remedy in: %v", err)
						}
						return
					}
					t.Logf("rate %g: %+v", rate, r)
					if err != nil {
						t.Fatal(err)
					}
				}
				t.Errorf("eight steps at a rate of %g were finite", rate)
			})
		}
	}
}

func TestWeightsThatAreNoNumbersAreNotFinite(t *testing.T) {
	trainer := newTrainer(t, tiny())
	c := checkpointOf(t, trainer)
	for i, tensor := range c.Model {
		if tensor.Name == "encoder_q.layer2.0.conv1.weight" {
			values := tensorValues(t, c.Model, tensor.Name)
			values[3] = float32(math.NaN())
			c.Model[i] = safetensors.FromFloat32s(tensor.Name, tensor.Shape, values)
		}
	}
	if err := trainer.Restore(c); err != nil {
		t.Fatal(err)
	}
	batches := input{images: 10}.open(t)
	for range 2 {
		if r := steps(t, trainer, batches, 1); !r.Discarded {
			t.Errorf("%+v, want a discarded step", r)
		}
	}
	_, err := trainer.Step(t.Context(), <-batches)
	if !errors.Is(err, ErrNotFinite) || !strings.HasPrefix(err.Error(), "step 3: ") {
		t.Errorf("got %v, want %v", err, ErrNotFinite)
	}
}

func TestOptionsValidate(t *testing.T) {
	if err := tiny().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spoil func(*Options)
		want  string
	}{
		{func(o *Options) { o.Encoder.Arch = "vit" }, `unknown architecture "vit"; use resnet10, resnet18, resnet34, resnet50, resnet101, wide_resnet50_2 or resnext50_32x4d`},
		{
			func(o *Options) { o.Encoder.Arch, o.Encoder.Width = "resnext50_32x4d", 24 },
			"encoder: width 24 leaves the 32 groups of a resnext50_32x4d without whole channels; use a multiple of 16",
		},
		{func(o *Options) { o.Encoder.Width = 0 }, "encoder: width must be at least 1"},
		{func(o *Options) { o.Encoder.Dim = 1 }, "encoder: dim must be at least 2"},
		{func(o *Options) { o.Encoder.Stem = "large" }, "encoder: stem must be imagenet or cifar"},
		{func(o *Options) { o.Encoder.Head = "" }, "encoder: head must be linear, mlp or mlp_bn"},
		{func(o *Options) { o.Encoder.Activation = "gelu" }, "encoder: activation must be relu or silu"},
		{func(o *Options) { o.Optimizer.Name = "" }, `unknown optimizer ""; use sgd, lars or adamw`},
		{func(o *Options) { o.Batch = 1 }, "train: a batch of 1; use at least 2"},
		{func(o *Options) { o.Size = 7 }, "train: views of 7 pixels; use at least 8"},
		{func(o *Options) { o.K = 3 }, "train: a queue of 3 keys is shorter than the batch (4); raise train.k"},
		{func(o *Options) { o.Groups = 3 }, "train: 3 BatchNorm groups do not divide the batch of 4; change train.bn_groups"},
		{func(o *Options) { o.Groups = 0 }, "train: 0 BatchNorm groups do not divide the batch of 4; change train.bn_groups"},
		{
			func(o *Options) { o.Encoder.Head, o.Groups = "mlp_bn", 4 },
			"train: 4 BatchNorm groups leave the head mlp_bn one row each; lower train.bn_groups or choose another train.head",
		},
		{func(o *Options) { o.T = 0 }, "train: the temperature must be above 0, got 0; change train.t"},
		{func(o *Options) { o.M = 1.5 }, "train: the key encoder's momentum must be in [0, 1], got 1.5; change train.m"},
		{func(o *Options) { o.Mechanism = "simclr" }, `train: unknown mechanism "simclr"; use moco, end_to_end or memory_bank`},
		{func(o *Options) { o.Mechanism = MemoryBank }, "train: memory_bank keeps an entry for every image and needs a source with an end; use moco"},
		{func(o *Options) { *o = tinyBank(); o.K = 0 }, "train: 0 negatives a step; use at least 1 (train.k)"},
		{func(o *Options) { *o = tinyBank(); o.Bank.Momentum = 1 }, "train: the bank's momentum must be in [0, 1), got 1; change train.bank_momentum"},
		{func(o *Options) { o.Schedule.Name = "warp" }, `unknown schedule "warp"; use cosine, wsd, step or constant`},
	} {
		o := tiny()
		c.spoil(&o)
		if err := o.Validate(); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if _, err := New(goBackend(t), o); err == nil {
			t.Errorf("a trainer was made in spite of: %s", c.want)
		}
	}
}
