package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"mocostream/config"
	"mocostream/sink"
	"mocostream/train"
	"mocostream/train/eval"
	"mocostream/train/knn"
)

// evalCommands are the evaluation protocols.
type evalCommands struct {
	KNN    evalKNNCommand    `cmd:"" name:"knn" help:"Weighted k-nearest neighbours on frozen features (Wu et al. 2018)."`
	Linear evalLinearCommand `cmd:"" help:"A linear classifier on frozen features, by the protocol of MoCo or a fast one."`
}

type evalKNNCommand struct {
	checkpointFlags
	Reference   string  `required:"" aliases:"train" placeholder:"DIR|s3://BUCKET/PREFIX" help:"Labelled images, a sub-folder a class."`
	Query       string  `required:"" aliases:"test" placeholder:"DIR|s3://BUCKET/PREFIX" help:"Other images of the same classes."`
	K           int     `default:"200" help:"Neighbours that vote."`
	Temperature float64 `default:"0.1" help:"Votes weigh exp(similarity / temperature)."`
	Features    string  `default:"backbone,head" help:"Which features to judge: backbone, head or both."`
	BN          string  `name:"bn" enum:"estimated,as-trained" default:"estimated" help:"BatchNorm statistics: of the reference images (estimated), or as-trained."`
	Baseline    bool    `help:"Judge an untrained encoder and raw pixels too."`
	JSON        bool    `name:"json" help:"Print one JSON object on stdout."`
}

// checkpointFlags name an encoder.
type checkpointFlags struct {
	Checkpoint string `required:"" placeholder:"DIR|s3://BUCKET/PREFIX" help:"Step folder, run folder (its newest whole checkpoint), or on a disk an export's folder."`
	Encoder    string `enum:"q,k" default:"q" help:"Query (q) or key (k) encoder; an export of one has only that."`
	Backend    string `default:"auto" help:"As train.backend."`
	Workers    int    `help:"Goroutines that decode; 0: one a processor."`
	bucketFlags
}

// Help is shown below the flags.
func (evalKNNCommand) Help() string {
	return `Example:
  mocostream eval knn --checkpoint runs/photos --reference data/train --query data/test --baseline`
}

// Run implements the command.
func (k evalKNNCommand) Run(term *terminal) error {
	if err := k.validate(); err != nil {
		return err
	}
	j, err := k.open(term)
	if err != nil {
		return err
	}
	defer j.close()
	var found *scores
	err = term.interruptible(func(ctx context.Context) (err error) {
		found, err = judge(ctx, j, k)
		return err
	})
	if err != nil {
		return err
	}
	if found.Warning != "" {
		fmt.Fprintf(term.err, "mocostream: warning: %s\n", found.Warning)
	}
	if k.JSON {
		return printJSON(term.out, found.json())
	}
	found.print(term.out)
	return nil
}

func (k evalKNNCommand) validate() error {
	switch k.Features {
	case "backbone", "head", "backbone,head", "head,backbone":
	default:
		return usage("--features %s: name backbone, head, or both with a comma", k.Features)
	}
	if k.K < 1 || k.Temperature <= 0 {
		return usage("--k must be at least 1 and --temperature above 0")
	}
	return errors.Join(labelledFolder("--reference", k.Reference), labelledFolder("--query", k.Query))
}

// encoderJob is a checkpoint opened for inference.
type encoderJob struct {
	checkpoint *train.Checkpoint
	folder     string
	config     *config.Config // as it was trained
	backend    *train.Backend
	which      string
	workers    int
}

// open reads the checkpoint and opens the backend.
func (f checkpointFlags) open(term *terminal) (*encoderJob, error) {
	j, err := f.read(term)
	if err != nil {
		return nil, err
	}
	if j.config, err = configOf(j.checkpoint); err != nil {
		return nil, err
	}
	j.backend, err = train.OpenBackend(f.Backend)
	return j, err
}

func (f checkpointFlags) read(term *terminal) (j *encoderJob, err error) {
	j = &encoderJob{which: f.Encoder, workers: f.Workers}
	if sink.IsExport(f.Checkpoint) {
		j.folder = f.Checkpoint
		j.checkpoint, j.which, err = sink.ReadExport(f.Checkpoint, f.Encoder)
		return j, err
	}
	folder, done, err := f.resolve(term, f.Checkpoint)
	if err != nil {
		return nil, err
	}
	defer done()
	j.folder = folder
	j.checkpoint, err = sink.Read(folder)
	return j, err
}

func (j *encoderJob) close() { j.backend.Finalize() }

func (j *encoderJob) embedder() (*train.Embedder, error) {
	return train.NewEmbedderFrom(j.backend, embedderOptions(j.config), j.checkpoint, j.which)
}

func (j *encoderJob) evalOptions() eval.Options {
	o := evalOptions(j.config)
	o.Workers = j.workers
	return o
}

// scores is what eval knn found.
type scores struct {
	features       string
	Backbone, Head knn.Result
	untrained      *knn.Result
	pixels         *knn.Result
	Warning        string
	bad            int
}

// judge runs the evaluation that the command asks for.
func judge(ctx context.Context, j *encoderJob, k evalKNNCommand) (*scores, error) {
	o, votes := j.evalOptions(), knn.Options{K: k.K, Temperature: k.Temperature}
	pair, err := openPair(ctx, k.Reference, k.Query, k.like(j.config))
	if err != nil {
		return nil, err
	}
	defer pair.close()
	e, err := j.embedder()
	if err != nil {
		return nil, err
	}
	defer e.Close()
	if !e.HasHead() {
		if k.Features == "head" {
			return nil, usage("--features head: %s has no head, only the backbone", k.Checkpoint)
		}
		k.Features = "backbone"
	}
	r, err := eval.KNN(ctx, e, pair.reference, pair.query, o, eval.BatchNorm(k.BN), votes)
	if err != nil {
		return nil, err
	}
	s := &scores{
		features: k.Features, Backbone: r.Backbone, Head: r.Head, Warning: r.Backbone.Warning,
		bad: len(r.Reference.Bad) + len(r.Query.Bad),
	}
	if !k.Baseline {
		return s, nil
	}
	untrained, err := train.NewEmbedder(j.backend, embedderOptions(j.config), j.config.Train.Seed)
	if err != nil {
		return nil, err
	}
	defer untrained.Close()
	u, err := eval.KNN(ctx, untrained, pair.reference, pair.query, o, eval.BatchNorm(k.BN), votes)
	if err != nil {
		return nil, fmt.Errorf("untrained encoder: %w", err)
	}
	p, err := eval.PixelsKNN(ctx, pair.reference, pair.query, o, votes)
	if err != nil {
		return nil, fmt.Errorf("raw pixels: %w", err)
	}
	s.untrained, s.pixels = &u.Backbone, &p
	return s, nil
}

func (s *scores) json() map[string]any {
	m := map[string]any{"classes": s.Backbone.Classes, "queries": s.Backbone.Queries, "k": s.Backbone.K, "bad_images": s.bad}
	if s.features != "head" {
		m["top1"], m["top5"] = s.Backbone.Top1, s.Backbone.Top5
	}
	if s.features != "backbone" {
		m["head.top1"], m["head.top5"] = s.Head.Top1, s.Head.Top5
	}
	if s.untrained != nil {
		m["baseline.untrained.top1"], m["baseline.pixels.top1"] = s.untrained.Top1, s.pixels.Top1
	}
	return m
}

func (s *scores) print(w io.Writer) {
	row := func(name string, r knn.Result) {
		fmt.Fprintf(w, "%-22s top-1 %5.1f %%   top-5 %5.1f %%\n", name, 100*r.Top1, 100*r.Top5)
	}
	fmt.Fprintf(w, "k-NN, k = %d, %d queries, %d classes (chance %.1f %%)\n", s.Backbone.K, s.Backbone.Queries, s.Backbone.Classes, 100/float64(s.Backbone.Classes))
	if s.features != "head" {
		row("backbone", s.Backbone)
	}
	if s.features != "backbone" {
		row("head", s.Head)
	}
	if s.untrained != nil {
		row("untrained encoder", *s.untrained)
		row("raw pixels", *s.pixels)
	}
	if s.bad > 0 {
		fmt.Fprintf(w, "%d images could not be decoded and were left out\n", s.bad)
	}
}
