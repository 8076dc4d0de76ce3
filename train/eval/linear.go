package eval

import (
	"context"
	"fmt"
	"math"

	"mocostream/train"
	"mocostream/train/knn"
)

// Linear judges an encoder by linear classifiers of its frozen backbone features, which are not scaled to length 1.
// Training and test images are matched by the names of their classes; a test image that is a training image too, byte for
// byte, is an error.
type Linear struct {
	Backend     *train.Backend
	Encoder     *train.Embedder // of Backend; its BatchNorm statistics are replaced if BatchNorm says so
	Train, Test Source
	Images      Options
	BatchNorm   BatchNorm
	Seed        uint64         // of initial weights, orders, views and splits
	Progress    func(Progress) // told how far it is, often; nil: nobody is
}

// Progress is how far an evaluation is.
type Progress struct {
	Phase    string
	Done, Of int64
	Note     string // "" if there is nothing else to say
}

// LinearResult is what a linear classifier reached.
type LinearResult struct {
	Top1, Top5 Share    // of the test images
	Classes    []string // of the training images
	PerClass   []Share  // top-1 of each class's test images
	Images     int      // training images, an epoch
	TrainTop1  float64  // share of the last epoch's training images, before the step that they were in
	TrainLoss  float64  // mean cross-entropy of those
	// Weight [classes, dim] and Bias [classes] make logits of features as the encoder gives them.
	Weight, Bias []float32
	Rate, Decay  float64 // learning rate at the start, and weight decay
	BadTrain     int     // images that could not be decoded, left out
	BadTest      int
	Warning      string // what makes these figures doubtful; empty if nothing does

	BestTop1  Share // of the paper's protocol: the best epoch's, chosen on the test images
	BestEpoch int   // from 1
	HeldOut   Share // of the fast one: top-1 of the training images that rate and decay were chosen on
}

func (l Linear) report(phase string, done, of int64, note string) {
	if l.Progress != nil {
		l.Progress(Progress{Phase: phase, Done: done, Of: of, Note: note})
	}
}

// prepare checks the classes, sets BatchNorm's statistics and returns the test images, by the training images' classes.
func (l Linear) prepare(ctx context.Context) (*Features, error) {
	if n := len(l.Train.Classes); n == 1 {
		return nil, fmt.Errorf("the training images are of one class, %q; give a folder with a sub-folder for each of two or more", l.Train.Classes[0])
	}
	classes, err := sameClasses(trainingSet, l.Train.Classes, test, l.Test.Classes)
	if err != nil {
		return nil, err
	}
	if l.BatchNorm == Estimated {
		if err := Estimate(ctx, l.Train, l.Encoder, l.told(ctx, "BatchNorm statistics", l.Train)); err != nil {
			return nil, fmt.Errorf("estimate BatchNorm statistics: %w", err)
		}
	}
	f, err := l.embed(ctx, test, l.Test)
	if err != nil {
		return nil, err
	}
	f.Backbone.Labels = relabel(f.Backbone.Labels, classes)
	return f, nil
}

// The two sets of images, as errors name them.
const (
	training    = "training"
	trainingSet = "training set"
	test        = "test"
)

// embed computes the features of a source whose images all need a class.
func (l Linear) embed(ctx context.Context, name string, src Source) (*Features, error) {
	f, err := Embed(ctx, src, l.Encoder, l.told(ctx, name+" images", src))
	if err != nil {
		return nil, fmt.Errorf("%s images: %w", name, err)
	}
	if err := usable(name, f.Backbone, f.Keys); err != nil {
		return nil, err
	}
	return f, nil
}

// told are the image options with word of every batch.
func (l Linear) told(ctx context.Context, phase string, src Source) Options {
	o := l.Images
	m, err := src.Manifest(ctx)
	if err != nil {
		return o // whoever reads the source says so
	}
	o.Progress = func(images int) { l.report(phase, int64(images), m.Samples(), "") }
	return o
}

// usable refuses images without a class, and features that are not finite.
func usable(name string, f knn.Features, keys []string) error {
	for i, label := range f.Labels {
		if label < 0 {
			return fmt.Errorf("%s image %s has no class; put it into a sub-folder", name, keys[i])
		}
	}
	for i, v := range f.X {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("features of %s image %s are not finite; the encoder has diverged", name, keys[i/f.Dim])
		}
	}
	return nil
}

// known refuses test images of a class that no training image shows.
func known(classes []string, train, test []int32) error {
	has := make([]bool, len(classes))
	for _, label := range train {
		has[label] = true
	}
	for _, label := range test {
		if !has[label] {
			return fmt.Errorf("none of the training images of class %q can be decoded, and there are test images of it", classes[label])
		}
	}
	return nil
}

// finish fills in what the classifier says of the test images in the end.
func (r *LinearResult) finish(c *train.Classifier, f knn.Features) (err error) {
	found, err := tallies(c, f, len(r.Classes))
	if err != nil {
		return err
	}
	if err := found[0].finite(); err != nil {
		return err
	}
	r.Top1, r.Top5, r.PerClass = found[0].Top1, found[0].Top5, found[0].Classes
	if r.Weight, r.Bias, err = c.Weights(0); err != nil {
		return err
	}
	if guess := math.Log(float64(len(r.Classes))); r.TrainLoss > guess {
		r.Warning = fmt.Sprintf("the classifier did not settle: its training loss is %.3g, above the %.3g of guessing; %s", r.TrainLoss, guess, diverged)
	}
	return nil
}
