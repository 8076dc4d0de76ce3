package synth

import (
	"image"
	"math"
	"testing"

	"golang.org/x/image/draw"
	"golang.org/x/image/vector"
)

// The area of each glyph, in squares of its radius, by school geometry. Holes, overlaps and winding show here.
func TestGlyphAreas(t *testing.T) {
	const chevron = .36*2*2.2360679775 - .18*.18*(2+.5)*.8 // two bars less what they share, about
	areas := map[string]float64{
		"bar":       2.6 * .36,
		"bars":      2 * 2 * .25,
		"chevron":   chevron,
		"cross":     2*2.4*.36 - .36*.36,
		"disc":      math.Pi,
		"dots":      5 * math.Pi * .32 * .32,
		"frame":     4 - 4*.74*.74,
		"half-disc": math.Pi * 1.2 * 1.2 / 2,
		"ring":      math.Pi * (1 - .74*.74),
		"square":    2 * 1.2 * 1.2,
		"star":      10. / 2 * 1.35 * 1.35 * .42 * math.Sin(math.Pi/5),
		"triangle":  3. / 2 * 1.25 * 1.25 * math.Sin(2*math.Pi/3),
	}
	for class, name := range classNames {
		for _, angle := range []float64{0, 1, 4} {
			got := glyphArea(class, angle)
			if want := areas[name]; math.Abs(got-want) > .03*want {
				t.Errorf("%s turned by %g covers %.3f, want %.3f", name, angle, got, want)
			}
		}
	}
}

func glyphArea(class int, angle float64) float64 {
	const size, r = 256, 60
	p := pen{mask: vector.NewRasterizer(size, size)}
	p.mask.DrawOp = draw.Src
	p.glyph(class, size/2, size/2, r, angle)
	mask := image.NewAlpha(image.Rect(0, 0, size, size))
	p.mask.Draw(mask, mask.Rect, image.Opaque, image.Point{})
	sum := 0.
	for _, covered := range mask.Pix {
		sum += float64(covered) / 255
	}
	return sum / (r * r)
}
