package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"mocostream/config"
	"mocostream/internal/synth"
	"mocostream/sink"
	"mocostream/sink/report"
	"mocostream/train/eval"
)

type demoCommand struct {
	logFlags
	Out  string `default:"demo" placeholder:"DIR" help:"Folder for images, run and report."`
	From string `enum:"dir,s3,kafka" default:"kafka" help:"Where images come from: dir, or a stand-in for s3 or kafka in this process."`
	JSON bool   `name:"json" help:"Print the outcome as one JSON object on stdout."`
}

// Help is shown below the flags.
func (demoCommand) Help() string {
	return `Draws a labelled set of glyph patterns, pre-trains a small encoder on the images without their labels, and judges it by
nearest neighbours against an untrained encoder and raw pixels. Stopped by Ctrl-C it writes a checkpoint, and the same
command goes on from there.

From kafka or s3 the images are streamed through a broker or an object store in this process, stand-ins that need nothing
installed. A trainer in a process of its own reads them, is killed half-way, and another one goes on from its checkpoint;
the ledger of what was trained on then shows that no image was missed or taken twice.

Example:
  mocostream demo
  mocostream demo --from s3 --out /tmp/demo --json`
}

const (
	demoClasses = 12
	demoSize    = 128 // pixels a side as stored
)

// demo is the command with how much it draws and trains: two sets of one kind, drawn apart, and the configuration.
type demo struct {
	demoCommand
	images, queries int
	set             []string
}

const demoNote = "The images are made up: each shows one of twelve glyphs many times, every copy at its own angle and in its own " +
	"colour, on a ground, in a light, at a scale and with a noise that say nothing about the class. Raw pixels and an untrained " +
	"encoder know next to nothing about them, so what the trained encoder knows it learned here, without labels. It is no " +
	"evidence about natural photographs. The accuracy at the top asks all images; the curve over time asks 900 of each set and " +
	"lies lower."

// wholeDemo is a run that learns the glyphs in a few minutes on two cores.
func wholeDemo(d demoCommand) demo {
	return demo{
		demoCommand: d, images: 6000, queries: 1200,
		set: []string{
			"augment.size=24", "augment.crop_scale=[0.3, 1]",
			"augment.hue=0.5", "augment.gray_probability=0.5", "augment.blur_probability=0",
			"augment.mean=[0.5, 0.5, 0.5]", "augment.std=[0.25, 0.25, 0.25]",
			"train.arch=resnet10", "train.width=16", "train.stem=cifar", "train.head=linear",
			"train.k=256", "train.m=0.985", "train.t=0.1", "train.bn_groups=2", "train.batch=32", "train.steps=1400", "train.seed=1",
			"train.optimizer.name=adamw", "train.optimizer.lr=0.003", "train.optimizer.weight_decay=0.05",
			"train.schedule.warmup_steps=20",
			"sink.checkpoint_every=200",
			"eval.every=350",
		},
	}
}

// folder is where the images of a set are.
func (d demo) folder(set string) string { return filepath.Join(d.Out, "images", set) }

func (d demo) config(feed *demoFeed) (*config.Config, error) {
	set := append([]string{
		"ingest.dir=" + d.folder("train"),
		"sink.dir=" + filepath.Join(d.Out, "run"), "sink.ledger=true",
		fmt.Sprintf("eval.probes=[{name: glyphs, reference: %q, query: %q, limit: 900}]", d.folder("train"), d.folder("query")),
	}, d.set...)
	if feed != nil {
		set = append(set, feed.set...)
	}
	c, err := config.LoadForTraining("", set)
	if err != nil {
		return nil, fmt.Errorf("configuration of the demo: %v", err) // %v: not the user's configuration
	}
	return c, nil
}

// demoOutcome is what demo --json prints.
type demoOutcome struct {
	Top1       float64 `json:"top1"`
	Head       float64 `json:"head.top1"`
	Untrained  float64 `json:"baseline.untrained.top1"`
	Pixels     float64 `json:"baseline.pixels.top1"`
	Seconds    float64 `json:"seconds"`
	Report     string  `json:"report"`
	Checkpoint string  `json:"checkpoint"`
	Steps      int64   `json:"steps"`
	Stopped    bool    `json:"stopped"`
	From       string  `json:"from"`

	Ledger *sink.LedgerReport `json:"ledger,omitempty"`
}

// Run implements the command.
func (d demoCommand) Run(term *terminal) error { return wholeDemo(d).run(term) }

func (d demo) run(term *terminal) error {
	started := time.Now()
	if err := d.draw(term); err != nil {
		return err
	}
	feed, err := d.openFeed(term.ctx)
	if err != nil {
		return err
	}
	c, err := d.config(feed)
	if err != nil {
		return err
	}
	file := filepath.Join(d.Out, "run.yaml")
	if err := os.WriteFile(file, []byte(config.Print(c)), 0o644); err != nil {
		return fmt.Errorf("write the demo's configuration: %w", err)
	}
	if feed != nil {
		defer feed.close()
		if err := d.stream(term, c, feed, file); err != nil {
			return err
		}
	}
	var judged *demoOutcome
	result, err := pretrain(term, sessionOptions{config: c}, d.logFlags, func(s *session) (err error) {
		judged, err = d.judge(term, s)
		return err
	})
	if err != nil {
		return err
	}
	if judged == nil {
		judged = &demoOutcome{}
	}
	judged.Seconds, judged.Report, judged.Checkpoint = time.Since(started).Seconds(), result.Report, result.Checkpoint
	judged.Steps, judged.Stopped, judged.From = result.Steps, result.Stopped, d.From
	if !judged.Stopped {
		if judged.Ledger, err = d.ledger(term, c); err != nil {
			return err
		}
	}
	if d.JSON {
		return printJSON(term.out, judged)
	}
	return d.print(term, judged, c)
}

// draw writes the images; what is there already stays.
func (d demo) draw(term *terminal) error {
	fmt.Fprintf(term.err, "drawing %d + %d images in %s\n", d.images, d.queries, filepath.Join(d.Out, "images"))
	return term.interruptible(func(ctx context.Context) error {
		for _, set := range []struct {
			name   string
			images int
			seed   uint64
		}{{"train", d.images, 1}, {"query", d.queries, 2}} {
			o := synth.Options{Classes: demoClasses, Images: set.images, Size: demoSize, Seed: set.seed}
			if err := synth.WriteDir(ctx, d.folder(set.name), o, runtime.NumCPU()); err != nil {
				return fmt.Errorf("draw images: %w", err)
			}
		}
		return nil
	})
}

// judge compares the trained encoder with an untrained one and with raw pixels, and leaves the figures to the report.
func (d demo) judge(term *terminal, s *session) (*demoOutcome, error) {
	fmt.Fprintln(term.err, "judging the encoder by its nearest neighbours")
	job, err := s.encoder()
	if err != nil {
		return nil, err
	}
	found, err := judge(term.ctx, job, evalKNNCommand{
		Reference: d.folder("train"), Query: d.folder("query"),
		K: s.config.Eval.K, Temperature: s.config.Eval.Temperature, BN: string(eval.Estimated), Baseline: true,
	})
	if err != nil {
		return nil, err
	}
	if err := s.picture(classesFile, demoClassGrid); err != nil {
		return nil, err
	}
	if err := s.labelNeighbours(term.ctx, d.folder("query")); err != nil {
		return nil, err
	}
	kept, err := readSummary(s.config.Sink.Dir)
	if err != nil {
		return nil, err
	}
	kept.Title, kept.Note = "mocostream demo: twelve glyphs", demoNote
	kept.Classes, kept.Queries = found.Backbone.Classes, found.Backbone.Queries
	kept.Scores = []report.Score{
		{Name: "trained encoder", Top1: found.Backbone.Top1},
		{Name: "untrained encoder", Top1: found.untrained.Top1, Baseline: true},
		{Name: "raw pixels", Top1: found.pixels.Top1, Baseline: true},
	}
	return &demoOutcome{
		Top1: found.Backbone.Top1, Head: found.Head.Top1, Untrained: found.untrained.Top1, Pixels: found.pixels.Top1,
	}, writeSummary(s.config.Sink.Dir, kept)
}

// ledger counts what the steps took.
func (d demo) ledger(term *terminal, c *config.Config) (*sink.LedgerReport, error) {
	folder, err := sink.Resolve(c.Sink.Dir, nil)
	if err != nil {
		return nil, err
	}
	ck, err := sink.Read(folder)
	if err != nil {
		return nil, err
	}
	report, err := checkLedger(term.ctx, c.Sink.Dir, ck)
	return &report, err
}

// demoClassGrid shows a few images of each class.
func demoClassGrid() ([]byte, error) {
	const each = 6
	o := synth.Options{Classes: demoClasses, Images: each * demoClasses, Size: demoSize, Seed: 3}
	rows := make([]report.ClassRow, demoClasses)
	for i, name := range synth.ClassNames(demoClasses) {
		rows[i].Name = name
	}
	for i := range each * demoClasses {
		picture, class := synth.Image(o, i)
		rows[class].Images = append(rows[class].Images, picture)
	}
	return report.PNG(report.ClassGrid(rows))
}

func (d demo) print(term *terminal, o *demoOutcome, c *config.Config) (err error) {
	if o.Stopped {
		_, err = fmt.Fprintf(term.out, "stopped after %d of %d steps; the same command goes on from %s\n", o.Steps, c.Train.Steps, o.Checkpoint)
		return err
	}
	_, err = fmt.Fprintf(term.out, `k-NN top-1 on %d images of %d classes (chance %.1f %%)
  trained encoder    %5.1f %%
  untrained encoder  %5.1f %%
  raw pixels         %5.1f %%
%d steps, %.0f s in all
ledger: %d images in %d steps; missing=%d repeated=%d

report      %s
checkpoint  %s
config      %s
`, d.queries, demoClasses, 100.0/demoClasses, 100*o.Top1, 100*o.Untrained, 100*o.Pixels, o.Steps, o.Seconds,
		o.Ledger.Samples, o.Ledger.LastStep, o.Ledger.Missing, o.Ledger.Repeated,
		o.Report, o.Checkpoint, filepath.Join(d.Out, "run.yaml"))
	return err
}
