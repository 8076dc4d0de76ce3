package report_test

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"mocostream/sink/report"
	"mocostream/train"
)

// sampleData looks like what a short run on made-up images gives.
func sampleData(t testing.TB, steps int) report.Data {
	t.Helper()
	d := report.Data{
		Title:   "ResNet-10 on scattered glyphs",
		Created: time.Date(2026, 3, 14, 15, 9, 0, 0, time.UTC),
		Note:    "Sample page: the curves and pictures below are drawn by the test suite, not measured.",
		Summary: report.Summary{
			Steps: int64(steps), Samples: int64(steps) * 64, Epochs: float64(steps) * 64 / 6000, Duration: 312 * time.Second,
			ImagesPerSecond: 188, Backend: "GoMLX Go backend, float32", DeadLetters: 3,
			Bottleneck: "device: training is what takes the time; it waited 2 % of the last 5 min",
		},
		Evaluation: report.Evaluation{Classes: 12, Queries: 1200, Scores: []report.Score{
			{Name: "trained", Top1: .683}, {Name: "untrained", Top1: .14, Baseline: true}, {Name: "raw pixels", Top1: .083, Baseline: true},
		}},
		Steps: sampleSteps(steps), Probes: sampleProbes(steps), Drift: sampleDrift(steps), QueueSize: 1024, Negatives: 1024, Guess: 6.93,
		Versions: map[string]string{"mocostream": "0.1.0", "go": "1.26", "gomlx": "0.28.2", "kernels": "avx2"},
		Config: []report.Setting{
			{"ingest.dir", "data/train"}, {"loader.workers", "2"}, {"loader.memory_limit", "512MiB"}, {"loader.max_bad_fraction", "0.01"},
			{"augment.size", "32"}, {"augment.recipe", "v2"}, {"augment.hue", "0.5"}, {"augment.gray", "0.5"},
			{"train.arch", "resnet10"}, {"train.width", "16"}, {"train.head", "linear"}, {"train.dim", "128"}, {"train.mechanism", "moco"},
			{"train.k", "1024"}, {"train.m", "0.97"}, {"train.t", "0.1"}, {"train.batch", "64"}, {"train.seed", "1"},
			{"train.optimizer", "adamw"}, {"train.lr", "0.002"}, {"train.weight_decay", "0.05"}, {"sink.dir", "runs/demo"},
			{"sink.checkpoint_every", "200"}, {"eval.every", "100"},
		},
	}
	p := samplePictures()
	if p.err != nil {
		t.Fatal(p.err)
	}
	d.Classes.PNG, d.Preview.PNG, d.Neighbours.PNG = p.classes, p.preview, p.neighbours
	return d
}

type pictures struct {
	classes, preview, neighbours []byte
	err                          error
}

// samplePictures draws once for all tests.
var samplePictures = sync.OnceValue(func() (p pictures) {
	var errs [3]error
	p.classes, errs[0] = report.PNG(report.ClassGrid(sampleClasses()))
	p.preview, errs[1] = report.PNG(report.PreviewGrid(samplePreview()))
	p.neighbours, errs[2] = report.PNG(report.NeighbourGrid(sampleNeighbours()))
	p.err = errors.Join(errs[:]...)
	return p
})

func mustPNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	b, err := report.PNG(img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sampleSteps(n int) []train.StepResult {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]train.StepResult, n)
	for i := range out {
		f := float64(i) / float64(n)
		fill := min(1, float64(i*64)/1024)
		fall := 1 - math.Exp(-4*f)
		out[i] = train.StepResult{
			Step: int64(i + 1), Samples: int64(i+1) * 64, Epoch: f * 10,
			Loss:     4.2 + 2.7*fill*math.Exp(-30*math.Max(0, .02-f)) - 4.1*fall + .13*rng.NormFloat64(),
			LR:       .002 * min(1, float64(i+1)/20) * .5 * (1 + math.Cos(math.Pi*f)),
			Positive: .55 + .33*fall + .012*rng.NormFloat64(), Negative: .42 - .37*fall + .006*rng.NormFloat64(),
			Top1: max(0, .02+.63*fall+.05*rng.NormFloat64()), Spread: .35 + .61*fall + .008*rng.NormFloat64(),
			Top5: min(1, .1+.75*fall+.03*rng.NormFloat64()), EffectiveRank: 3 + 40*fall + .8*rng.NormFloat64(), QueueAge: min(8.5, float64(i)/2), Masked: .1 - .05*f, Apart: .3 - .2*fall,
			GradNorm: 1.4 + 1.1*math.Exp(-6*f) + .12*math.Abs(rng.NormFloat64()), ImagesPerSecond: 188 + 6*rng.NormFloat64(),
			DataWait: .015 + .006*math.Abs(rng.NormFloat64()),
		}
	}
	return out
}

func sampleProbes(steps int) []train.ProbeResult {
	var out []train.ProbeResult
	for i := 0; i <= 9; i++ {
		f := float64(i) / 9
		out = append(out, train.ProbeResult{Step: int64(f * float64(steps)), Probe: "knn", Top1: .14 + .55*(1-math.Exp(-2.6*f))/.926})
	}
	return out
}

// sampleDrift is still for six windows, and then is not.
func sampleDrift(steps int) (all []train.DriftResult) {
	for i := range 9 {
		r := train.DriftResult{Step: int64((i + 1) * steps / 10), MMD2: .004 * float64(i%3-1), PValue: .4, Sources: 128}
		if i > 5 {
			r.MMD2, r.PValue, r.Alarm = .03*float64(i-5), .0005, i > 6
		}
		all = append(all, r)
	}
	return all
}

// glyph draws one of 12 shapes, several times, in a colour of its own.
func glyph(class int, rng *rand.Rand, size int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	ground, ink := hue(rng.Float64(), .85), hue(rng.Float64(), .45)
	type spot struct{ x, y, r, turn float64 }
	var spots []spot
	for range 5 {
		spots = append(spots, spot{rng.Float64(), rng.Float64(), .13 + .08*rng.Float64(), 2 * math.Pi * rng.Float64()})
	}
	arms, bite := float64(class%6+2), .15+.35*float64(class/6)
	for y := range size {
		for x := range size {
			c := ground
			for _, s := range spots {
				dx, dy := float64(x)/float64(size)-s.x, float64(y)/float64(size)-s.y
				if r := math.Hypot(dx, dy); r < s.r && r < s.r*(1-bite+bite*math.Cos(arms*(math.Atan2(dy, dx)+s.turn))) {
					c = ink
				}
			}
			img.Set(x, y, c)
		}
	}
	return img
}

func hue(h, light float64) color.NRGBA {
	part := func(shift float64) uint8 {
		return uint8(255 * (light + (1-light)*.8*math.Cos(2*math.Pi*(h+shift))))
	}
	return color.NRGBA{part(0), part(1. / 3), part(2. / 3), 255}
}

func sampleClasses() []report.ClassRow {
	rng := rand.New(rand.NewPCG(3, 4))
	var rows []report.ClassRow
	for class := range 12 {
		r := report.ClassRow{Name: fmt.Sprintf("class %d", class)}
		for range 3 {
			r.Images = append(r.Images, glyph(class, rng, 96))
		}
		rows = append(rows, r)
	}
	return rows
}

func samplePreview() []report.PreviewRow {
	rng := rand.New(rand.NewPCG(5, 6))
	var rows []report.PreviewRow
	for i := range 12 {
		rows = append(rows, report.PreviewRow{
			Original: glyph(i, rng, 96), Views: []image.Image{glyph(i, rng, 32), glyph(i, rng, 32)},
			Caption: fmt.Sprintf("train/class-%02d/%06d.jpg", i, rng.IntN(1e6)),
		})
	}
	return rows
}

func sampleNeighbours() []report.NeighbourRow {
	rng := rand.New(rand.NewPCG(7, 8))
	var rows []report.NeighbourRow
	for i := range 6 {
		r := report.NeighbourRow{Query: glyph(i, rng, 96), Caption: fmt.Sprintf("class %d", i)}
		for j := range 8 {
			n := report.Neighbour{Similarity: .97 - .03*float64(j), Match: report.Same, Image: glyph(i, rng, 96)}
			if rng.Float64() < .25 {
				n.Match, n.Image = report.Other, glyph(i+3, rng, 96)
			}
			r.Neighbours = append(r.Neighbours, n)
		}
		rows = append(rows, r)
	}
	return rows
}
