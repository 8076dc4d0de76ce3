package eval

import (
	"context"
	"errors"
	"fmt"
	"math"

	"mocostream/augment"
	"mocostream/loader"
	"mocostream/train"
)

// PaperOptions are the parameters of the linear protocol of MoCo (arXiv 1911.05722, section 4.1). Paper returns those of
// main_lincls.py.
type PaperOptions struct {
	Epochs      int
	Batch       int // images a step; the last step of an epoch takes what is left
	Rate        float64
	Momentum    float64
	WeightDecay float64
	Milestones  []int // epochs, from 0, at whose start the rate is divided by 10

	CropScale [2]float64 // area of the random crop as a share of the image's
	CropRatio [2]float64 // width over height of the crop
	Flip      float64    // probability
}

// Paper are the parameters that the paper's figures were made with.
func Paper() PaperOptions {
	return PaperOptions{
		Epochs: 100, Batch: 256, Rate: 30, Momentum: 0.9, Milestones: []int{60, 80},
		CropScale: [2]float64{0.08, 1}, CropRatio: [2]float64{3. / 4, 4. / 3}, Flip: 0.5,
	}
}

// Validate returns an error that names the first option out of its range, but for those of the crop.
func (o PaperOptions) Validate() error {
	switch {
	case o.Epochs < 1:
		return fmt.Errorf("%d epochs; it takes 1 at least", o.Epochs)
	case o.Batch < 1:
		return fmt.Errorf("batches of %d; it takes 1 at least", o.Batch)
	case !(o.Rate > 0) || math.IsInf(o.Rate, 0):
		return fmt.Errorf("learning rate %v is not above 0", o.Rate)
	case !(o.Momentum >= 0 && o.Momentum < 1):
		return fmt.Errorf("momentum %v is not in 0 to below 1", o.Momentum)
	case !(o.WeightDecay >= 0) || math.IsInf(o.WeightDecay, 0):
		return fmt.Errorf("weight decay %v is not 0 or more", o.WeightDecay)
	}
	return nil
}

// rate is the learning rate of an epoch.
func (o PaperOptions) rate(epoch int) float64 {
	rate := o.Rate
	for _, m := range o.Milestones {
		if epoch >= m {
			rate *= 0.1
		}
	}
	return rate
}

func (o PaperOptions) recipe(images Options) (*augment.MoCo, error) {
	return augment.NewMoCo(augment.MoCoOptions{
		Size: images.Size, CropScale: o.CropScale, CropRatio: o.CropRatio, FlipProbability: o.Flip, Limits: images.Limits,
	})
}

// Paper trains one classifier by SGD as the paper does: every epoch draws new crops and flips of every training image, in
// a new order, and brings them through the frozen encoder in inference mode.
func (l Linear) Paper(ctx context.Context, o PaperOptions) (*LinearResult, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	recipe, err := o.recipe(l.Images)
	if err != nil {
		return nil, err
	}
	p := &paper{Linear: l, options: o, recipe: recipe}
	p.Images.Batch = o.Batch
	if p.test, err = l.prepare(ctx); err != nil {
		return nil, err
	}
	p.classifier, err = train.NewClassifier(l.Backend, train.ClassifierOptions{
		Dim: p.test.Backbone.Dim, Classes: len(l.Train.Classes), Batch: o.Batch, Momentum: o.Momentum,
		WeightDecay: []float64{o.WeightDecay}, Seed: l.Seed,
	})
	if err != nil {
		return nil, err
	}
	defer p.classifier.Close()
	p.result = LinearResult{Classes: l.Train.Classes, Rate: o.Rate, Decay: o.WeightDecay, BadTest: len(p.test.Bad)}
	for epoch := range o.Epochs {
		if err := p.epoch(ctx, epoch); err != nil {
			return nil, err
		}
	}
	return &p.result, p.result.finish(p.classifier, p.test.Backbone)
}

// paper is a training by the paper's protocol.
type paper struct {
	Linear
	options    PaperOptions
	recipe     augment.Recipe
	test       *Features
	classifier *train.Classifier
	result     LinearResult
	steps      int64 // done
}

// running adds up an epoch.
type running struct {
	images      int
	loss, right float64    // sums over images
	seen        Features   // of the first epoch: keys, digests and labels
	rates       [1]float64 // this epoch's
}

// epoch trains for one epoch and asks about the test images.
func (p *paper) epoch(ctx context.Context, epoch int) error {
	m, err := p.Train.Manifest(ctx)
	if err != nil {
		return err
	}
	a := &running{rates: [1]float64{p.options.rate(epoch)}}
	steps := int64(p.options.Epochs * parts(int(m.Samples()), p.options.Batch))
	bad, err := Augmented(ctx, p.Train, p.Images, p.recipe, p.Seed, int64(epoch), func(b augment.EvalBatch) error {
		err := p.step(ctx, b, a, epoch)
		p.steps++
		p.report("training", p.steps, steps, p.note(epoch, a))
		return err
	})
	if err != nil {
		return err
	}
	if epoch == 0 {
		if err := p.checkTraining(&a.seen, bad); err != nil {
			return err
		}
	}
	found, err := tallies(p.classifier, p.test.Backbone, len(p.Train.Classes))
	if err != nil {
		return err
	}
	if err := found[0].finite(); err != nil {
		return fmt.Errorf("after epoch %d: %w", epoch+1, err)
	}
	r := &p.result
	r.Images, r.TrainLoss, r.TrainTop1 = a.images, a.loss/float64(a.images), a.right/float64(a.images)
	r.Top1 = found[0].Top1
	if r.Top1.Right > r.BestTop1.Right || epoch == 0 {
		r.BestTop1, r.BestEpoch = r.Top1, epoch+1
	}
	return nil
}

// note is how the classifier does, at the end of an epoch's step.
func (p *paper) note(epoch int, a *running) string {
	n := fmt.Sprintf("epoch %d of %d, rate %.3g, loss %.3f, training top-1 %.1f %%", epoch+1, p.options.Epochs, a.rates[0],
		a.loss/float64(a.images), 100*a.right/float64(a.images))
	if epoch > 0 {
		n += fmt.Sprintf(", test top-1 %.1f %%", 100*p.result.Top1.Value())
	}
	return n
}

// step trains on one batch.
func (p *paper) step(ctx context.Context, b augment.EvalBatch, a *running, epoch int) error {
	rows, _, err := p.Encoder.Embed(ctx, b.Pixels)
	if err != nil {
		return err
	}
	f := appended(Features{}.Backbone, rows, b.Labels)
	if err := usable(training, f, b.Keys); err != nil {
		return err
	}
	fit, err := p.classifier.Step(f.X, f.Labels, a.rates[:])
	if err != nil {
		return err
	}
	if math.IsNaN(fit.Loss[0]) || math.IsInf(fit.Loss[0], 0) {
		return fmt.Errorf("epoch %d, rate %g: the training loss is %v; %s", epoch+1, a.rates[0], fit.Loss[0], diverged)
	}
	a.images += b.Len()
	a.loss += fit.Loss[0] * float64(b.Len())
	a.right += fit.Top1[0] * float64(b.Len())
	if epoch == 0 {
		a.seen.Keys, a.seen.SHA256 = append(a.seen.Keys, b.Keys...), append(a.seen.SHA256, b.SHA256...)
		a.seen.Backbone.Labels = append(a.seen.Backbone.Labels, b.Labels...)
	}
	return nil
}

// checkTraining looks at the images of the first epoch, the first time that all are known.
func (p *paper) checkTraining(seen *Features, bad []loader.DeadLetter) error {
	p.result.BadTrain = len(bad)
	if len(seen.Keys) == 0 {
		return fmt.Errorf("training images: none can be decoded (%d tried)", len(bad))
	}
	return errors.Join(
		disjoint(trainingSet, seen, test, p.test),
		known(p.Train.Classes, seen.Backbone.Labels, p.test.Backbone.Labels),
	)
}
