package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mocostream/train"
	"mocostream/train/eval"
)

type evalLinearCommand struct {
	checkpointFlags
	Train    string `required:"" aliases:"reference" placeholder:"DIR|s3://BUCKET/PREFIX" help:"Labelled images to train the classifier on, a sub-folder a class."`
	Test     string `required:"" aliases:"query" placeholder:"DIR|s3://BUCKET/PREFIX" help:"Other images of the same classes."`
	Fast     bool   `help:"Features are computed once, without augmentation; learning rate and weight decay are chosen on a part of --train."`
	BN       string `name:"bn" enum:"as-trained,estimated" default:"as-trained" help:"BatchNorm statistics: as-trained, or of the training images (estimated)."`
	Baseline bool   `help:"Judge an untrained encoder too, and with --fast raw pixels."`
	Seed     uint64 `help:"Of initial weights, orders, views and the split."`
	Save     string `placeholder:"FILE" help:"Write the classifier, fc.weight and fc.bias, as safetensors."`
	JSON     bool   `name:"json" help:"Print one JSON object on stdout."`

	Epochs      *int      `group:"Of the protocol of the paper" placeholder:"100" help:"Passes over the training images."`
	Batch       *int      `group:"Of the protocol of the paper" placeholder:"256" help:"Images a step."`
	LR          *float64  `group:"Of the protocol of the paper" name:"lr" placeholder:"30" help:"Learning rate."`
	Milestones  []int     `group:"Of the protocol of the paper" placeholder:"60,80" help:"Epochs after which the rate is divided by 10; more than --epochs: never."`
	Momentum    *float64  `group:"Of the protocol of the paper" placeholder:"0.9" help:"Momentum."`
	WeightDecay *float64  `group:"Of the protocol of the paper" placeholder:"0" help:"Weight decay, of weight and bias."`
	CropScale   []float64 `group:"Of the protocol of the paper" placeholder:"0.08,1" help:"Area of the random crop as a share of the image's, from and to."`
	Flip        *float64  `group:"Of the protocol of the paper" placeholder:"0.5" help:"Probability of a flip, left to right."`
}

// Help is shown below the flags.
func (evalLinearCommand) Help() string {
	return `Trains a linear classifier on the backbone's features, which stay as they are. Without --fast it is the protocol of the MoCo
papers, with new crops and flips of every image in every epoch: as many passes of the encoder as there are epochs. With
--fast it is one pass, and its figures compare with each other only.

Example:
  mocostream eval linear --checkpoint runs/photos --train data/train --test data/test --fast --baseline
  mocostream eval linear --checkpoint runs/photos --train data/train --test data/test --save classifier.safetensors`
}

// Run implements the command.
func (c evalLinearCommand) Run(term *terminal) error {
	paper, err := c.paper()
	if err := errors.Join(err, labelledFolder("--train", c.Train), labelledFolder("--test", c.Test)); err != nil {
		return err
	}
	j, err := c.open(term)
	if err != nil {
		return err
	}
	defer j.close()
	progress := newPhases(term, 10*time.Second)
	var found *linearScores
	err = term.interruptible(func(ctx context.Context) (err error) {
		found, err = judgeLinear(ctx, j, c, paper, progress.show)
		return err
	})
	if err != nil {
		return err
	}
	if found.trained.Warning != "" {
		fmt.Fprintf(term.err, "mocostream: warning: %s\n", found.trained.Warning)
	}
	if c.Save != "" {
		if err := saveClassifier(c.Save, found.trained); err != nil {
			return err
		}
	}
	if c.JSON {
		return printJSON(term.out, found.json())
	}
	found.print(term.out)
	return nil
}

// paper are the parameters of the paper's protocol with what the flags set differently.
func (c evalLinearCommand) paper() (eval.PaperOptions, error) {
	o := eval.Paper()
	set(&o.Epochs, c.Epochs)
	set(&o.Batch, c.Batch)
	set(&o.Rate, c.LR)
	set(&o.Momentum, c.Momentum)
	set(&o.WeightDecay, c.WeightDecay)
	set(&o.Flip, c.Flip)
	if c.Milestones != nil {
		o.Milestones = c.Milestones
	}
	if c.CropScale != nil {
		if len(c.CropScale) != 2 {
			return o, usage("--crop-scale %v: give two numbers with a comma, from and to", c.CropScale)
		}
		o.CropScale = [2]float64(c.CropScale)
	}
	if c.Fast && (c.Epochs != nil || c.Batch != nil || c.LR != nil || c.Momentum != nil || c.WeightDecay != nil || c.Flip != nil ||
		c.Milestones != nil || c.CropScale != nil) {
		return o, usage("--fast chooses by itself: leave out --epochs, --batch, --lr, --milestones, --momentum, --weight-decay, --crop-scale and --flip")
	}
	if info, err := os.Stat(filepath.Dir(c.Save)); c.Save != "" && (err != nil || !info.IsDir()) {
		return o, usage("--save %s: %s is no folder; make it first", c.Save, filepath.Dir(c.Save))
	}
	if err := o.Validate(); err != nil {
		return o, usage("%w; see mocostream eval linear --help", err)
	}
	return o, nil
}

// judgeLinear runs the evaluation that the command asks for.
func judgeLinear(ctx context.Context, j *encoderJob, c evalLinearCommand, paper eval.PaperOptions, progress func(eval.Progress)) (*linearScores, error) {
	o := j.evalOptions()
	pair, err := openPair(ctx, c.Train, c.Test, c.like(j.config))
	if err != nil {
		return nil, err
	}
	defer pair.close()
	l := eval.Linear{
		Backend: j.backend, Train: pair.reference, Test: pair.query, Images: o,
		BatchNorm: eval.BatchNorm(c.BN), Seed: c.Seed, Progress: progress,
	}
	named := func(whose string) { // in what is told of progress
		l.Progress = func(p eval.Progress) { p.Phase = whose + p.Phase; progress(p) }
	}
	judge := func(e *train.Embedder, err error) (*eval.LinearResult, error) {
		if err != nil {
			return nil, err
		}
		defer e.Close()
		l.Encoder = e
		if c.Fast {
			return l.Fast(ctx, eval.Fast())
		}
		return l.Paper(ctx, paper)
	}
	s := &linearScores{fast: c.Fast, encoder: c.Encoder, paper: paper}
	if s.trained, err = judge(j.embedder()); err != nil || !c.Baseline {
		return s, err
	}
	named("untrained encoder: ")
	l.BatchNorm = eval.Estimated // it has no other
	if s.untrained, err = judge(train.NewEmbedder(j.backend, embedderOptions(j.config), j.config.Train.Seed)); err != nil {
		return nil, fmt.Errorf("untrained encoder: %w", err)
	}
	if !c.Fast {
		return s, nil
	}
	named("raw pixels: ")
	if s.pixels, err = l.Pixels(ctx, eval.Fast()); err != nil {
		return nil, fmt.Errorf("raw pixels: %w", err)
	}
	return s, nil
}
