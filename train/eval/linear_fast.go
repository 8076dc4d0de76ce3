package eval

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"mocostream/train"
	"mocostream/train/knn"
)

// FastOptions are the parameters of the fast linear protocol. Fast returns those of the command.
type FastOptions struct {
	Rates  []float64 // learning rates to try
	Decays []float64 // weight decays to try, each with each rate
	// Epochs are passes over the training images; there are more if Steps asks for it.
	Epochs int
	Steps  int // at least so many steps
	Batch  int // images a step; the last step of an epoch takes what is left, and a step all of them if they are fewer
	// HeldOut is the share of each class's training images that rate and decay are chosen on.
	HeldOut float64
}

// Fast are the parameters of the command.
func Fast() FastOptions {
	return FastOptions{
		Rates:  []float64{1e-3, 1e-2, 1e-1, 1},
		Decays: []float64{0, 1e-4, 1e-3, 1e-2},
		Epochs: 30, Steps: 500, Batch: 256, HeldOut: 0.2,
	}
}

// fastMomentum is SGD's in the fast protocol.
const fastMomentum = 0.9

// Fast computes the features of every image once, by the evaluation transform, and trains classifiers on those: see Fit.
func (l Linear) Fast(ctx context.Context, o FastOptions) (*LinearResult, error) {
	asked, err := l.prepare(ctx)
	if err != nil {
		return nil, err
	}
	shown, err := l.embed(ctx, training, l.Train)
	if err != nil {
		return nil, err
	}
	if err := disjoint(trainingSet, shown, test, asked); err != nil {
		return nil, err
	}
	r, err := l.Fit(ctx, shown.Backbone, asked.Backbone, o)
	if err != nil {
		return nil, err
	}
	r.BadTrain, r.BadTest = len(shown.Bad), len(asked.Bad)
	return r, nil
}

// Pixels is Fast with raw pixels in place of features (see Pixels).
func (l Linear) Pixels(ctx context.Context, o FastOptions) (*LinearResult, error) {
	classes, err := sameClasses(trainingSet, l.Train.Classes, test, l.Test.Classes)
	if err != nil {
		return nil, err
	}
	shown, err := Pixels(ctx, l.Train, l.told(ctx, "training images", l.Train))
	if err != nil {
		return nil, fmt.Errorf("training images: %w", err)
	}
	asked, err := Pixels(ctx, l.Test, l.told(ctx, "test images", l.Test))
	if err != nil {
		return nil, fmt.Errorf("test images: %w", err)
	}
	asked.Labels = relabel(asked.Labels, classes)
	return l.Fit(ctx, shown, asked, o)
}

// Fit trains linear classifiers on features that are standardised by the training images' mean and standard deviation. Every
// rate is tried with every decay, side by side, on a part of the training images; the pair that does best on the rest,
// HeldOut of each class, trains one more classifier on all of them, which alone is asked about the test images. SGD with
// momentum 0.9, rates falling to 0 by half a cosine. Labels are of the classes of Train.
func (l Linear) Fit(ctx context.Context, shown, asked knn.Features, o FastOptions) (*LinearResult, error) {
	if err := known(l.Train.Classes, shown.Labels, asked.Labels); err != nil {
		return nil, err
	}
	scale := newScale(shown)
	shown, asked = scale.apply(shown), scale.apply(asked)
	part, heldOut, err := split(shown, o.HeldOut, len(l.Train.Classes), l.Seed)
	if err != nil {
		return nil, err
	}
	best, err := l.sweep(ctx, part, heldOut, o)
	if err != nil {
		return nil, err
	}
	f := &fit{Linear: l, options: o, phase: "training", rates: []float64{best.rate}, decays: []float64{best.decay}}
	c, err := f.run(ctx, shown)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := &LinearResult{
		Classes: l.Train.Classes, Images: shown.Rows(), TrainTop1: f.last.Top1[0], TrainLoss: f.last.Loss[0],
		Rate: best.rate, Decay: best.decay, HeldOut: best.Top1,
	}
	if err := r.finish(c, asked); err != nil {
		return nil, err
	}
	scale.fold(r.Weight, r.Bias)
	return r, nil
}

// candidate is a pair of rate and decay, and how it did on the images held out.
type candidate struct {
	rate, decay float64
	tally
}

// sweep returns the candidate that gets most images right; of equals the one of the lowest loss, and then the first.
func (l Linear) sweep(ctx context.Context, part, heldOut knn.Features, o FastOptions) (best candidate, err error) {
	f := &fit{Linear: l, options: o, phase: "sweep"}
	for _, rate := range o.Rates {
		for _, decay := range o.Decays {
			f.rates, f.decays = append(f.rates, rate), append(f.decays, decay)
		}
	}
	c, err := f.run(ctx, part)
	if err != nil {
		return best, err
	}
	defer c.Close()
	found, err := tallies(c, heldOut, len(l.Train.Classes))
	if err != nil {
		return best, err
	}
	best.Top1.Right = -1
	for i, t := range found {
		if t.finite() != nil {
			continue
		}
		if t.Top1.Right > best.Top1.Right || (t.Top1.Right == best.Top1.Right && t.Loss < best.Loss) {
			best = candidate{f.rates[i], f.decays[i], t}
		}
	}
	if best.Top1.Right < 0 {
		return best, fmt.Errorf("sweep of learning rates %v: every one diverged; give lower ones", o.Rates)
	}
	return best, nil
}

// fit trains classifiers side by side, one for each pair of rates and decays.
type fit struct {
	Linear
	options       FastOptions
	phase         string
	rates, decays []float64
	batch         int
	last          train.Fit // means of the last epoch
}

func (f *fit) run(ctx context.Context, x knn.Features) (*train.Classifier, error) {
	f.batch = min(f.options.Batch, x.Rows())
	c, err := train.NewClassifier(f.Backend, train.ClassifierOptions{
		Dim: x.Dim, Classes: len(f.Train.Classes), Batch: f.batch, Momentum: fastMomentum, WeightDecay: f.decays, Seed: f.Seed,
	})
	if err != nil {
		return nil, err
	}
	perEpoch := parts(x.Rows(), f.batch)
	epochs := max(f.options.Epochs, parts(f.options.Steps, perEpoch))
	for epoch := range epochs {
		if err := f.epoch(ctx, c, x, epoch, epochs*perEpoch); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// epoch trains on every row once, in an order of the epoch's own.
func (f *fit) epoch(ctx context.Context, c *train.Classifier, x knn.Features, epoch, steps int) error {
	order := rand.New(rand.NewPCG(f.Seed, uint64(epoch)+1)).Perm(x.Rows())
	done := epoch * parts(x.Rows(), f.batch)
	n := len(f.rates)
	f.last = train.Fit{Loss: make([]float64, n), Top1: make([]float64, n)}
	rates := make([]float64, n)
	for part := range slices.Chunk(order, f.batch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i, rate := range f.rates {
			rates[i] = rate * (1 + math.Cos(math.Pi*float64(done)/float64(steps))) / 2
		}
		batch := rows(x, part)
		fit, err := c.Step(batch.X, batch.Labels, rates)
		if err != nil {
			return err
		}
		share := float64(len(part)) / float64(x.Rows())
		for i := range n {
			f.last.Loss[i] += share * fit.Loss[i]
			f.last.Top1[i] += share * fit.Top1[i]
		}
		done++
		f.report(f.phase, int64(done), int64(steps), "")
	}
	return nil
}

// parts is how many parts of a size there are in n, the last one smaller.
func parts(n, size int) int { return (n + size - 1) / size }

// rows are some rows of features.
func rows(f knn.Features, which []int) knn.Features {
	r := knn.Features{Dim: f.Dim, X: make([]float32, 0, len(which)*f.Dim), Labels: make([]int32, 0, len(which))}
	for _, i := range which {
		r.X = append(r.X, f.X[i*f.Dim:(i+1)*f.Dim]...)
		r.Labels = append(r.Labels, f.Labels[i])
	}
	return r
}

// split takes a share of each class's rows, by chance, out of those to train on: of a class of two or more at least one,
// and never all.
func split(f knn.Features, share float64, classes int, seed uint64) (part, heldOut knn.Features, err error) {
	byClass := make([][]int, classes)
	for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(f.Rows()) {
		byClass[f.Labels[i]] = append(byClass[f.Labels[i]], i)
	}
	var in, out []int
	for _, all := range byClass {
		n := 0
		if len(all) > 1 {
			n = min(max(int(math.Round(share*float64(len(all)))), 1), len(all)-1)
		}
		out, in = append(out, all[:n]...), append(in, all[n:]...)
	}
	if len(out) == 0 {
		return part, heldOut, fmt.Errorf("no class has two training images, so none can be held out to choose the learning rate on; give more images")
	}
	slices.Sort(in) // by place, and not by class
	slices.Sort(out)
	return rows(f, in), rows(f, out), nil
}
