package augment

import (
	"image"
	"math/rand/v2"
)

// Operations of the colour jitter.
const (
	jitterNone = iota
	jitterBrightness
	jitterContrast
	jitterSaturation
	jitterHue
)

// viewParams is everything random about one view, in plain numbers.
type viewParams struct {
	crop                             image.Rectangle // in pixels of the decoded image
	order                            [4]uint8        // the jitter's operations, first to last; all jitterNone without jitter
	brightness, contrast, saturation float64         // factors
	hue                              float64         // part of a turn
	gray                             bool
	sigma                            float64 // of the blur, in pixels; 0 for none
	flip                             bool
}

// draw draws a view of a width x height image. The order of the draws is part of what a seed means: it is crop, jitter,
// grey, blur, flip, whatever order they are applied in.
func (o *MoCoOptions) draw(rng *rand.Rand, width, height int) viewParams {
	p := viewParams{crop: drawCrop(rng, width, height, o.CropScale, o.CropRatio)}
	if happens(rng, o.JitterProbability) {
		o.drawJitter(rng, &p)
	}
	p.gray = happens(rng, o.GrayProbability)
	if happens(rng, o.BlurProbability) {
		p.sigma = uniform(rng, o.BlurSigma[0], o.BlurSigma[1])
	}
	p.flip = happens(rng, o.FlipProbability)
	return p
}

func (o *MoCoOptions) drawJitter(rng *rand.Rand, p *viewParams) {
	p.order = [4]uint8{jitterBrightness, jitterContrast, jitterSaturation, jitterHue}
	for i := 3; i > 0; i-- { // Fisher and Yates
		j := rng.IntN(i + 1)
		p.order[i], p.order[j] = p.order[j], p.order[i]
	}
	p.brightness = uniform(rng, max(0, 1-o.Brightness), 1+o.Brightness)
	p.contrast = uniform(rng, max(0, 1-o.Contrast), 1+o.Contrast)
	p.saturation = uniform(rng, max(0, 1-o.Saturation), 1+o.Saturation)
	p.hue = uniform(rng, -o.Hue, o.Hue)
	for i, op := range p.order {
		if o.strength(op) == 0 {
			p.order[i] = jitterNone
		}
	}
}

func (o *MoCoOptions) strength(op uint8) float64 {
	return [...]float64{0, o.Brightness, o.Contrast, o.Saturation, o.Hue}[op]
}

// happens is true with probability p.
func happens(rng *rand.Rand, p float64) bool { return rng.Float64() < p }
