package synth

import (
	"image"
	"math"
	"math/rand/v2"

	"golang.org/x/image/draw"
	"golang.org/x/image/vector"
)

type colour [3]float32 // red, green, blue, 0 to 255

// Image draws image i of the set: a new [Size, Size] opaque RGBA, and its class. The result depends on opts.Classes,
// opts.Size, opts.Seed and i alone. opts must be valid. Safe for concurrent use.
func Image(opts Options, i int) (*image.RGBA, int) {
	class := i % opts.Classes
	rng := opts.random(i)
	ground, ink := colours(rng)
	mask := pattern(rng, class, opts.Size)
	img := image.NewRGBA(image.Rect(0, 0, opts.Size, opts.Size))
	shade(img, mask, ground, ink, rng)
	return img, class
}

// colours draws the two colours of an image, their means at least 60 apart so that the glyphs stand out.
func colours(rng *rand.Rand) (ground, ink colour) {
	ground = randomColour(rng)
	for {
		ink = randomColour(rng)
		difference := ink[0] + ink[1] + ink[2] - ground[0] - ground[1] - ground[2]
		if difference < -180 || difference > 180 {
			return ground, ink
		}
	}
}

func randomColour(rng *rand.Rand) (c colour) {
	for i := range c {
		c[i] = float32(uniform(rng, 20, 235))
	}
	return c
}

// pattern draws the glyphs of a class on a jittered grid: their coverage of each pixel, 0 to 255.
func pattern(rng *rand.Rand, class, size int) *image.Alpha {
	p := pen{mask: vector.NewRasterizer(size, size)}
	p.mask.DrawOp = draw.Src
	period := uniform(rng, .24, .34) * float64(size)
	left, top := uniform(rng, 0, period), uniform(rng, 0, period)
	cells := int(float64(size)/period) + 2
	for column := -1; column < cells; column++ {
		for row := -1; row < cells; row++ {
			x := left + period*(float64(column)+uniform(rng, -.15, .15))
			y := top + period*(float64(row)+uniform(rng, -.15, .15))
			r := period * uniform(rng, .30, .38)
			p.glyph(class, x, y, r, uniform(rng, 0, 2*math.Pi))
		}
	}
	mask := image.NewAlpha(image.Rect(0, 0, size, size))
	p.mask.Draw(mask, mask.Rect, image.Opaque, image.Point{})
	return mask
}

// shade colours the mask, lights it from a random side and adds noise.
func shade(img *image.RGBA, mask *image.Alpha, ground, ink colour, rng *rand.Rand) {
	size := img.Rect.Dx()
	sin, cos := math.Sincos(uniform(rng, 0, 2*math.Pi))
	stepX, stepY := float32(.35*cos)/float32(size), float32(.35*sin)/float32(size)
	sigma := float32(uniform(rng, 4, 12))
	for y := range size {
		light := 1 + stepY*float32(y-size/2) - stepX*float32(size/2)
		row := img.Pix[y*img.Stride : y*img.Stride+4*size]
		for x, covered := range mask.Pix[y*mask.Stride : y*mask.Stride+size] {
			a := float32(covered) / 255
			pixel := row[4*x : 4*x+4]
			for c := range ground {
				v := (ground[c] + a*(ink[c]-ground[c])) * light
				pixel[c] = clip(v + sigma*float32(rng.NormFloat64()))
			}
			pixel[3] = 255
			light += stepX
		}
	}
}

func clip(v float32) uint8 { return uint8(min(max(v, 0), 255)) }

func uniform(rng *rand.Rand, low, high float64) float64 { return low + (high-low)*rng.Float64() }
