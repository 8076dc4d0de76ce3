package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"mocostream/internal/synth"
	"mocostream/train"
)

type benchContinualCommand struct {
	Out      string   `default:"bench-continual" placeholder:"DIR" help:"Folder for images, streams and runs. What it holds already is not done again."`
	Seeds    int      `default:"3" help:"How often each cell is run, on other images each time."`
	First    int      `name:"first-seed" default:"1" help:"The first seed; what the recommended settings were chosen on starts at 101."`
	Streams  []string `placeholder:"NAME" help:"Rows to run: bursts-32, bursts-256, classes, tasks, drift, long; the first three by default."`
	Policies []string `placeholder:"NAME" help:"Columns to run: in-order, fifo, random, reservoir, min_redundancy, default, iid, iid-no-buffer; all by default."`
	Steps    int      `default:"900" help:"Steps of a run, a tenth of those of the row long. The bars are of 900."`
	Set      []string `placeholder:"KEY=VALUE" sep:"none" help:"Override a key of all cells, to try it. May be repeated."`
	Backend  string   `default:"auto" help:"As train.backend."`
	JSON     bool     `name:"json" help:"Print one JSON object on stdout, last."`
}

// Help is shown below the flags.
func (benchContinualCommand) Help() string {
	return `Trains one small encoder on made-up streams whose images come in bursts of near-duplicates, with each way of keeping a
replay buffer, and compares their k-NN accuracy with that of the same frames shuffled: the table of docs/continual.md. All
cells have the same network, steps and settings; "default" is the policy to recommend, "iid" the same on shuffled frames.

Stopped, it goes on where it was when called again. It ends with 1 if a bar that could be judged is missed. Three seeds of
all cells are some hours on XLA.

Example:
  mocostream bench continual --seeds 1 --streams classes --policies default,fifo,iid
  mocostream bench continual --json`
}

// laboratory is the command with the sizes of what it makes.
type laboratory struct {
	benchContinualCommand
	images, queries int // of which streams are made, and on which encoders are judged
	drawn, size     int // pixels a side of an image, and of a frame, which is scaled down: that takes most of the noise away
	batch           int
	curve           int      // points of the k-NN curve
	set             []string // settings of all cells
}

// wholeLaboratory is what docs/continual.md reports.
func wholeLaboratory(b benchContinualCommand) laboratory {
	return laboratory{
		benchContinualCommand: b, images: 6000, queries: 6000, drawn: demoSize, size: 64, batch: 64, curve: 6,
		set: []string{
			"augment.size=24", "augment.crop_scale=[0.3, 1]", "augment.hue=0.5", "augment.gray_probability=0.5", "augment.blur_probability=0",
			"augment.mean=[0.5, 0.5, 0.5]", "augment.std=[0.25, 0.25, 0.25]",
			"train.arch=resnet10", "train.width=16", "train.stem=cifar", "train.head=linear",
			"train.k=1024", "train.m=0.985", "train.t=0.1", "train.bn_groups=2",
			"train.optimizer.name=adamw", "train.optimizer.lr=0.003", "train.optimizer.weight_decay=0.05",
			"train.schedule.warmup_steps=20",
		},
	}
}

// spareFrames are what a stream has beyond its steps' batches: the buffer's fill before the first draw.
const spareFrames = 1024

// labStream is a row of the table.
type labStream struct {
	name   string
	stream synth.Stream // all but frames, size and seed
	buffer int          // samples
	must   float64      // share of i.i.d. that default has to reach; 0: no bar
	above  bool         // default has to be above fifo for every seed
	extra  bool         // not run unless asked for
	times  int          // how many times as long as the others; 0: as long
}

func labStreams() []labStream {
	return []labStream{
		{name: "bursts-32", stream: synth.Stream{Kind: synth.Correlated, Burst: 32}, buffer: 4096, must: .92},
		{name: "bursts-256", stream: synth.Stream{Kind: synth.Correlated, Burst: 256}, buffer: 2048, must: .88},
		{name: "classes", stream: synth.Stream{Kind: synth.Tasks, Tasks: demoClasses, Burst: 32}, buffer: 4096, must: .80, above: true},
		{name: "tasks", stream: synth.Stream{Kind: synth.Tasks, Tasks: 2, Burst: 32}, buffer: 2048, extra: true},
		{name: "drift", stream: synth.Stream{Kind: synth.Drift, Drift: synth.DriftClasses, Onset: .5, Burst: 32}, buffer: 2048, extra: true},
		{name: "long", stream: synth.Stream{Kind: synth.Correlated, Burst: 32}, buffer: 4096, times: 10, extra: true},
	}
}

// labPolicy is a column of the table.
type labPolicy struct {
	name    string
	shuffle bool // the frames come in random order
	replay  string
	set     []string
}

// Columns that bars are about.
const (
	policyDefault = "default"
	policyIID     = "iid"
	policyFIFO    = "fifo"
)

// recommended is the policy of docs/continual.md's five lines.
const recommended = "balanced"

func labPolicies() []labPolicy {
	return []labPolicy{
		{name: policyDefault, replay: recommended},
		{name: policyIID, replay: recommended, shuffle: true},
		{name: policyFIFO, replay: "fifo"},
		{name: "random", replay: "random"},
		{name: "reservoir", replay: "reservoir"},
		{name: "min_redundancy", replay: "min_redundancy"},
		{name: "in-order", replay: "none"},
		{name: "iid-no-buffer", replay: "none", shuffle: true},
	}
}

// labCell is one run: a stream, a policy and a seed.
type labCell struct {
	labStream
	labPolicy
	seed int
}

func (c labCell) String() string {
	return fmt.Sprintf("%s, %s, seed %d", c.labStream.name, c.labPolicy.name, c.seed)
}

// cells are what the flags ask for: all of the first seed first, so that an early look sees every row and column.
func (l laboratory) cells() ([]labCell, error) {
	rows, err := chosen("--streams", l.Streams, labStreams(), func(s labStream) string { return s.name })
	if err != nil {
		return nil, err
	}
	if len(l.Streams) == 0 {
		rows = slices.DeleteFunc(rows, func(s labStream) bool { return s.extra })
	}
	columns, err := chosen("--policies", l.Policies, labPolicies(), func(p labPolicy) string { return p.name })
	if err != nil {
		return nil, err
	}
	var all []labCell
	for seed := l.First; seed < l.First+l.Seeds; seed++ {
		for _, row := range rows {
			for _, column := range columns {
				all = append(all, labCell{row, column, seed})
			}
		}
	}
	return all, nil
}

// chosen are those of all whose names the flag lists, in all's order; all of them for an empty list.
func chosen[T any](flag string, names []string, all []T, name func(T) string) ([]T, error) {
	if len(names) == 0 {
		return all, nil
	}
	var known, unknown []string
	var found []T
	for _, one := range all {
		known = append(known, name(one))
		if slices.Contains(names, name(one)) {
			found = append(found, one)
		}
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			unknown = append(unknown, n)
		}
	}
	if len(unknown) > 0 {
		return nil, usage("%s %s: is none of %s", flag, strings.Join(unknown, ","), strings.Join(known, ", "))
	}
	return found, nil
}

// Run implements the command.
func (b benchContinualCommand) Run(term *terminal) error { return wholeLaboratory(b).run(term) }

func (l laboratory) run(term *terminal) error {
	cells, err := l.cells()
	if err != nil {
		return err
	}
	if l.Seeds < 1 || l.First < 0 || l.Steps < l.curve {
		return usage("--seeds %d, --first-seed %d, --steps %d: name 1 seed or more, from 0 on, and %d steps or more", l.Seeds, l.First, l.Steps, l.curve)
	}
	for _, c := range cells { // before hours are spent
		if _, err := l.config(c, "localhost:0"); err != nil {
			return err
		}
	}
	results, err := l.runAll(term, cells)
	if err != nil {
		return err
	}
	table := summarise(results)
	if err := table.print(term.out); err != nil {
		return err
	}
	if l.JSON {
		if err := printJSON(term.out, table); err != nil {
			return err
		}
	}
	return table.failure()
}

func (l laboratory) runAll(term *terminal, cells []labCell) ([]cellResult, error) {
	backend, err := train.OpenBackend(l.Backend)
	if err != nil {
		return nil, err
	}
	defer backend.Finalize()
	if backend.Advice != "" {
		fmt.Fprintf(term.err, "mocostream: a faster backend could be used: %s\n", backend.Advice)
	}
	started := time.Now()
	var results []cellResult
	made := 0
	for i, c := range cells {
		result, fresh, err := l.cell(term, backend, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		results = append(results, result)
		if !fresh {
			continue
		}
		made++
		left := time.Since(started) / time.Duration(made) * time.Duration(len(cells)-i-1)
		fmt.Fprintf(term.err, "%d of %d, %s: k-NN %.1f %%; about %s left\n", i+1, len(cells), c, 100*result.Top1, left.Round(time.Minute))
	}
	return results, nil
}

// Folders of the laboratory.
func (l laboratory) imagesOf(seed int, set string) string {
	return filepath.Join(l.Out, fmt.Sprintf("images-%d", seed), set)
}

func (l laboratory) streamDir(c labCell) string {
	name := fmt.Sprintf("%s-%d-%d", c.labStream.name, c.seed, l.stream(c).Frames)
	if c.shuffle {
		name += "-shuffled"
	}
	return filepath.Join(l.Out, "streams", name)
}

func (l laboratory) cellDir(c labCell) string {
	return filepath.Join(l.Out, "cells", c.labStream.name, c.labPolicy.name, fmt.Sprintf("seed-%d", c.seed))
}

// set of images that streams show (reference) or encoders are judged on (query).
func (l laboratory) glyphs(seed int, query bool) synth.Options {
	o := synth.Options{Classes: demoClasses, Images: l.images, Size: l.drawn, Seed: uint64(2 * seed)}
	if query {
		o.Images, o.Seed = l.queries, o.Seed+1
	}
	return o
}

// draw makes the folders that the encoders of a seed are judged on.
func (l laboratory) draw(ctx context.Context, seed int) error {
	for set, query := range map[string]bool{"reference": false, "query": true} {
		if err := synth.WriteDir(ctx, l.imagesOf(seed, set), l.glyphs(seed, query), runtime.GOMAXPROCS(0)); err != nil {
			return err
		}
	}
	return linkFirst(l.imagesOf(seed, "query"), l.imagesOf(seed, "first"))
}

// linkFirst makes a folder of the images of the first half of the classes.
func linkFirst(from, to string) error {
	for _, class := range synth.ClassNames(demoClasses / 2) {
		if err := os.MkdirAll(filepath.Join(to, class), 0o755); err != nil {
			return err
		}
		images, err := os.ReadDir(filepath.Join(from, class))
		if err != nil {
			return err
		}
		for _, image := range images {
			err := os.Link(filepath.Join(from, class, image.Name()), filepath.Join(to, class, image.Name()))
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}
