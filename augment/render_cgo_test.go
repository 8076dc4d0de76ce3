//go:build cgo && !purego

package augment

import (
	"bytes"
	"fmt"
	"image"
	"math/rand/v2"
	"testing"

	"mocostream/augment/kernel"
	"mocostream/augment/rgb"
)

// renderers are those of all variants that this processor runs, by name.
func renderers(size int, grayFirst bool) map[string]viewRenderer {
	all := map[string]viewRenderer{}
	for i, name := range kernel.Variants() {
		all[name] = newCRenderer(size, grayFirst, kernel.NewVariant(i))
	}
	return all
}

func noise(rng *rand.Rand, width, height int) *rgb.Image {
	m := &rgb.Image{}
	m.Resize(width, height)
	for i := range m.Pix {
		m.Pix[i] = byte(rng.Uint32())
	}
	for y := range height / 2 { // half of it smooth: ties, greys and flat parts are where roundings differ
		for x := range m.Row(y) {
			m.Row(y)[x] = byte(x / 3 * 255 / width)
		}
	}
	return m
}

// Every variant makes the Go renderer's bits, of any size from any crop, flipped or not.
func TestVariantsRenderAsGoDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	src := noise(rng, 431, 307)
	for _, size := range []int{1, 3, 31, 32, 33, 48, 96, 100, 224} {
		for _, grayFirst := range []bool{false, true} {
			want := newGoRenderer(size, grayFirst)
			all := renderers(size, grayFirst)
			for range 12 {
				compareViews(t, want, all, size, src, anyParams(rng, src))
			}
		}
	}
}

// Crops that are reduced greatly take another way through the resize than those that are not, and huge ones many taps.
func TestVariantsReduceAsGoDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	src := noise(rng, 1500, 40)
	for _, size := range []int{1, 8, 33, 224, 600} {
		want, all := newGoRenderer(size, false), renderers(size, false)
		for _, crop := range []image.Rectangle{src.Bounds(), image.Rect(0, 0, 1, 1), image.Rect(1499, 0, 1500, 40), image.Rect(3, 5, 1203, 6), image.Rect(700, 0, 1340, 39)} {
			compareViews(t, want, all, size, src, viewParams{crop: crop, flip: rng.IntN(2) == 0})
		}
	}
}

func compareViews(t *testing.T, want viewRenderer, all map[string]viewRenderer, size int, src *rgb.Image, p viewParams) {
	t.Helper()
	expected, got := make([]byte, size*size*3), make([]byte, size*size*3)
	want.render(expected, src, &p)
	for name, r := range all {
		clear(got)
		r.render(got, src, &p)
		if !bytes.Equal(got, expected) {
			largest, mean := difference(t, got, expected)
			t.Errorf("%s, size %d, %+v: off by up to %d levels, mean %.3f", name, size, p, largest, mean)
		}
	}
}

// anyParams draws from the whole range of what Validate lets through, and beyond the recipes.
func anyParams(rng *rand.Rand, src *rgb.Image) viewParams {
	o := MoCoOptions{
		CropScale: [2]float64{0.001, 1}, CropRatio: [2]float64{0.2, 5}, JitterProbability: 0.8,
		Brightness: 1.5, Contrast: 1.5, Saturation: 1.5, Hue: 0.5, GrayProbability: 0.3,
		BlurProbability: 0.6, BlurSigma: [2]float64{0.01, 4}, FlipProbability: 0.5,
	}
	p := o.draw(rng, src.Width, src.Height)
	if p.sigma > 3.8 {
		p.sigma = rng.Float64() * 100
	}
	return p
}

// All 2^24 colours through the hue, and what float rounding makes of every blend.
func TestVariantsTurnAllColoursAsGoDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("turns 2^24 colours")
	}
	const size = 4096
	src := &rgb.Image{}
	src.Resize(size, size)
	for i := range size * size {
		src.Pix[3*i], src.Pix[3*i+1], src.Pix[3*i+2] = byte(i>>16), byte(i>>8), byte(i)
	}
	p := viewParams{crop: src.Bounds(), order: [4]uint8{jitterHue}, hue: 0.0729}
	compareViews(t, newGoRenderer(size, false), renderers(size, false), size, src, p)
}

func TestVariantsBlendAsGoDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	src := noise(rng, 64, 64)
	want, all := newGoRenderer(64, false), renderers(64, false)
	for i := range 60 {
		p := viewParams{crop: src.Bounds(), brightness: 0.6, contrast: rng.Float64() * 2, saturation: rng.Float64() * 11}
		p.order[i%4] = uint8(jitterBrightness + i%3)
		compareViews(t, want, all, 64, src, p)
	}
}

func TestRenderRefusesCropsOutside(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("rendered a crop that is not inside")
		}
	}()
	src := noise(rand.New(rand.NewPCG(7, 8)), 16, 16)
	newCRenderer(8, false, kernel.New()).render(make([]byte, 8*8*3), src, &viewParams{crop: image.Rect(0, 0, 17, 16)})
}

func BenchmarkRender(b *testing.B) {
	rng := rand.New(rand.NewPCG(9, 10))
	src, dst, o := noise(rng, 500, 375), make([]byte, 224*224*3), MoCoV2(224)
	all := renderers(224, false)
	all["Go"] = newGoRenderer(224, false)
	for name, r := range all {
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(11, 12))
			for b.Loop() {
				p := o.draw(rng, src.Width, src.Height)
				r.render(dst, src, &p)
			}
		})
	}
}
