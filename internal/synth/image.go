package synth

import (
	"image"
	"image/color"
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
	img := image.NewRGBA(image.Rect(0, 0, opts.Size, opts.Size))
	canvas := image.NewRGBA(img.Rect.Inset(-opts.Size/2 - 4)) // glyphs hang over the edges
	ground := randomColour(rng)
	draw.Draw(canvas, canvas.Rect, image.NewUniform(ground.rgba()), image.Point{}, draw.Src)
	pattern(canvas, img.Rect, rng, class, ground)
	draw.Draw(img, img.Rect, canvas, image.Point{}, draw.Src)
	shade(img, rng)
	return img, class
}

// inkOn draws a colour whose mean is at least 60 from the ground's, so that a glyph stands out.
func inkOn(rng *rand.Rand, ground colour) colour {
	for {
		ink := randomColour(rng)
		difference := ink[0] + ink[1] + ink[2] - ground[0] - ground[1] - ground[2]
		if difference < -180 || difference > 180 {
			return ink
		}
	}
}

func randomColour(rng *rand.Rand) (c colour) {
	for i := range c {
		c[i] = float32(uniform(rng, 20, 235))
	}
	return c
}

func (c colour) rgba() color.RGBA { return color.RGBA{clip(c[0]), clip(c[1]), clip(c[2]), 255} }

// pattern draws the glyphs of a class on a jittered grid, each in a colour and at an angle of its own: what two parts of
// an image have in common is the class and little else. Only what can be seen within frame needs to be drawn.
func pattern(canvas *image.RGBA, frame image.Rectangle, rng *rand.Rand, class int, ground colour) {
	size := float64(frame.Dx())
	period := uniform(rng, .24, .34) * size
	left, top := uniform(rng, 0, period), uniform(rng, 0, period)
	cells := int(size/period) + 2
	p := pen{mask: &vector.Rasterizer{}}
	for column := -1; column < cells; column++ {
		for row := -1; row < cells; row++ {
			x := left + period*(float64(column)+uniform(rng, -.15, .15))
			y := top + period*(float64(row)+uniform(rng, -.15, .15))
			r := period * uniform(rng, .30, .38)
			angle, ink := uniform(rng, 0, 2*math.Pi), inkOn(rng, ground)
			p.stamp(canvas, frame, class, x, y, r, angle, ink.rgba())
		}
	}
}

// reach is how far a glyph extends from its centre, in radii.
const reach = 1.5

// stamp draws one glyph in one colour; only its surroundings are touched, and nothing where they miss the frame.
func (p *pen) stamp(canvas *image.RGBA, frame image.Rectangle, class int, x, y, r, angle float64, ink color.RGBA) {
	half := int(math.Ceil(reach*r)) + 1
	corner := image.Pt(int(math.Floor(x))-half, int(math.Floor(y))-half)
	p.mask.Reset(2*half+1, 2*half+1)
	box := image.Rectangle{corner, corner.Add(p.mask.Size())}
	if !box.Overlaps(frame) {
		return
	}
	p.glyph(class, x-float64(corner.X), y-float64(corner.Y), r, angle)
	p.mask.Draw(canvas, box, image.NewUniform(ink), image.Point{})
}

// shade lights an image from a random side and adds noise.
func shade(img *image.RGBA, rng *rand.Rand) {
	size := img.Rect.Dx()
	sin, cos := math.Sincos(uniform(rng, 0, 2*math.Pi))
	stepX, stepY := float32(.35*cos)/float32(size), float32(.35*sin)/float32(size)
	sigma := float32(uniform(rng, 4, 12))
	for y := range size {
		light := 1 + stepY*float32(y-size/2) - stepX*float32(size/2)
		row := img.Pix[y*img.Stride : y*img.Stride+4*size]
		for x := range size {
			pixel := row[4*x : 4*x+3]
			for c, v := range pixel {
				pixel[c] = clip(float32(v)*light + sigma*float32(rng.NormFloat64()))
			}
			light += stepX
		}
	}
}

func clip(v float32) uint8 { return uint8(min(max(v, 0), 255)) }

func uniform(rng *rand.Rand, low, high float64) float64 { return low + (high-low)*rng.Float64() }
