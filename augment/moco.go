package augment

import (
	"fmt"
	"math/rand/v2"
)

// MoCoOptions are the parameters of MoCo's recipe. MoCoV1 and MoCoV2 return those of facebookresearch/moco.
type MoCoOptions struct {
	Size      int        // height and width of a view in pixels
	CropScale [2]float64 // area of the crop as a share of the image's, uniform in [low, high]
	CropRatio [2]float64 // width over height of the crop, log-uniform in [low, high]

	// The jitter is applied with JitterProbability, its four operations in random order. The factors are uniform: the first
	// three in [max(0, 1-x), 1+x], the hue in [-x, x] of a full turn. An operation whose x is 0 is left out.
	JitterProbability float64
	Brightness        float64
	Contrast          float64
	Saturation        float64
	Hue               float64

	GrayProbability float64
	GrayFirst       bool // grey before the jitter, as in MoCo v1

	BlurProbability float64
	BlurSigma       [2]float64 // pixels, uniform in [low, high]

	FlipProbability float64 // left to right

	Limits Limits
}

// MoCoV1 returns the recipe of MoCo v1 (arXiv 1911.05722): crop, grey, jitter, flip.
func MoCoV1(size int) MoCoOptions {
	return MoCoOptions{
		Size: size, CropScale: [2]float64{0.2, 1}, CropRatio: [2]float64{3. / 4, 4. / 3},
		JitterProbability: 1, Brightness: 0.4, Contrast: 0.4, Saturation: 0.4, Hue: 0.4,
		GrayProbability: 0.2, GrayFirst: true, FlipProbability: 0.5,
	}
}

// MoCoV2 returns the recipe of MoCo v2 (arXiv 2003.04297; --aug-plus): crop, jitter, grey, blur, flip.
func MoCoV2(size int) MoCoOptions {
	o := MoCoV1(size)
	o.JitterProbability, o.Hue = 0.8, 0.1
	o.GrayFirst = false
	o.BlurProbability, o.BlurSigma = 0.5, [2]float64{0.1, 2}
	return o
}

// Validate returns an error that names the first option out of its range.
func (o MoCoOptions) Validate() error {
	switch {
	case o.Size < 1 || o.Size > 4096:
		return fmt.Errorf("size of %d pixels is not in 1 to 4096", o.Size)
	case !ordered(0, o.CropScale, 1) || o.CropScale[0] == 0:
		return fmt.Errorf("crop scale %v is not 0 < low <= high <= 1", o.CropScale)
	case !ordered(0, o.CropRatio, 100) || o.CropRatio[0] < 0.01:
		return fmt.Errorf("crop ratio %v is not 0.01 <= low <= high <= 100", o.CropRatio)
	case !ordered(0, o.BlurSigma, 100):
		return fmt.Errorf("blur sigma %v is not 0 <= low <= high <= 100", o.BlurSigma)
	case !within(0.5, o.Hue):
		return fmt.Errorf("hue %v is not in 0 to 0.5", o.Hue)
	case !within(10, o.Brightness, o.Contrast, o.Saturation):
		return fmt.Errorf("brightness %v, contrast %v or saturation %v is not in 0 to 10", o.Brightness, o.Contrast, o.Saturation)
	case !within(1, o.JitterProbability, o.GrayProbability, o.BlurProbability, o.FlipProbability):
		return fmt.Errorf("probability of jitter %v, gray %v, blur %v or flip %v is not in 0 to 1",
			o.JitterProbability, o.GrayProbability, o.BlurProbability, o.FlipProbability)
	}
	return nil
}

func ordered(low float64, v [2]float64, high float64) bool {
	return low <= v[0] && v[0] <= v[1] && v[1] <= high
}

// within reports whether all are in 0 to high; NaN is not.
func within(high float64, all ...float64) bool {
	for _, v := range all {
		if !(0 <= v && v <= high) {
			return false
		}
	}
	return true
}

// MoCo is the recipe of the two views of MoCo v1 and v2.
type MoCo struct {
	options  MoCoOptions
	decoder  decoder
	renderer viewRenderer
}

var _ Recipe = (*MoCo)(nil)

// NewMoCo returns the recipe with these options, or the error of Validate.
func NewMoCo(o MoCoOptions) (*MoCo, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("build MoCo recipe: %w", err)
	}
	o.Limits = o.Limits.WithDefaults()
	return &MoCo{options: o, decoder: decoder{limits: o.Limits}, renderer: newRenderer(o.Size, o.GrayFirst)}, nil
}

// Clone returns the same recipe with scratch memory of its own.
func (m *MoCo) Clone() Recipe {
	return &MoCo{
		options: m.options, decoder: decoder{limits: m.options.Limits}, renderer: newRenderer(m.options.Size, m.options.GrayFirst),
	}
}

// Views implements Recipe. The views must be of the recipe's Size; another is an error that is no *BadImage.
func (m *MoCo) Views(dst []View, img []byte, rng func(view int) *rand.Rand) (uint64, error) {
	for i, v := range dst {
		if err := v.check(m.options.Size); err != nil {
			return 0, fmt.Errorf("render view %d: %w", i, err)
		}
	}
	src, err := m.decoder.decode(img)
	if err != nil {
		return 0, err
	}
	for i, v := range dst {
		p := m.options.draw(rng(i), src.Width, src.Height)
		m.renderer.render(v.Pix, src, &p)
	}
	return differenceHash(src), nil
}

func (v View) check(size int) error {
	if v.Size != size || len(v.Pix) != size*size*3 {
		return fmt.Errorf("view of size %d with %d bytes, the recipe makes size %d with %d", v.Size, len(v.Pix), size, size*size*3)
	}
	return nil
}
