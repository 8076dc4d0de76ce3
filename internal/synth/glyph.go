package synth

import (
	"math"

	"golang.org/x/image/vector"
)

// pen lays glyphs into the coverage mask of an image. All outlines of filled areas turn the same way, and those of holes
// the other way: the rasterizer adds up windings, so glyphs may overlap.
type pen struct {
	mask     *vector.Rasterizer
	x, y, r  float64 // the current glyph's centre and radius in pixels
	sin, cos float64 // of its angle
}

type point struct{ x, y float64 } // in the glyph's own frame: radius 1, not turned

// glyph draws the pattern element of a class around (x, y).
func (p *pen) glyph(class int, x, y, r, angle float64) {
	p.x, p.y, p.r = x, y, r
	p.sin, p.cos = math.Sincos(angle)
	switch classNames[class] {
	case "bar":
		p.line(.36, point{-1.3, 0}, point{1.3, 0})
	case "bars":
		p.line(.25, point{-1, -.5}, point{1, -.5})
		p.line(.25, point{-1, .5}, point{1, .5})
	case "chevron":
		p.line(.36, point{-1, -1}, point{0, 1})
		p.line(.36, point{0, 1}, point{1, -1})
	case "cross":
		p.line(.36, point{-1.2, 0}, point{1.2, 0})
		p.line(.36, point{0, -1.2}, point{0, 1.2})
	case "disc":
		p.arc(point{}, 1, 4)
	case "dots":
		for _, c := range polygon(5, .8, .8) {
			p.arc(c, .32, 4)
		}
	case "frame":
		p.fill(rectangle(1)...)
		p.fill(reversed(rectangle(1 - .26))...)
	case "half-disc":
		p.arc(point{}, 1.2, 2)
	case "ring":
		p.arc(point{}, 1, 4)
		p.arc(point{}, 1-.26, -4)
	case "square":
		p.fill(polygon(4, 1.2, 1.2)...)
	case "star":
		p.fill(polygon(10, 1.35, 1.35*.42)...)
	case "triangle":
		p.fill(polygon(3, 1.25, 1.25)...)
	}
}

// fill closes the polygon through the points.
func (p *pen) fill(points ...point) {
	p.mask.MoveTo(p.place(points[0]))
	for _, q := range points[1:] {
		p.mask.LineTo(p.place(q))
	}
	p.mask.ClosePath()
}

// line draws a bar with square ends of the given width.
func (p *pen) line(width float64, a, b point) {
	dx, dy := b.x-a.x, b.y-a.y
	s := width / 2 / math.Hypot(dx, dy)
	nx, ny := dy*s, -dx*s
	p.fill(point{a.x + nx, a.y + ny}, point{b.x + nx, b.y + ny}, point{b.x - nx, b.y - ny}, point{a.x - nx, a.y - ny})
}

// arc draws quarter turns of a circle and closes them with a chord; a negative count turns the other way, for a hole.
func (p *pen) arc(centre point, r float64, quarters int) {
	const kappa = .5522847498 // control points of the cubic nearest to a quarter circle
	turn := 1.
	if quarters < 0 {
		turn, quarters = -1, -quarters
	}
	at := func(u, v float64) (float32, float32) { return p.place(point{centre.x + r*u, centre.y + r*v}) }
	u, v := 1., 0.
	p.mask.MoveTo(at(u, v))
	for range quarters {
		nu, nv := -v*turn, u*turn
		bx, by := at(u+kappa*nu, v+kappa*nv)
		cx, cy := at(nu+kappa*u, nv+kappa*v)
		dx, dy := at(nu, nv)
		p.mask.CubeTo(bx, by, cx, cy, dx, dy)
		u, v = nu, nv
	}
	p.mask.ClosePath()
}

// place turns, scales and moves a point of the glyph into the image.
func (p *pen) place(q point) (float32, float32) {
	return float32(p.x + p.r*(q.x*p.cos-q.y*p.sin)), float32(p.y + p.r*(q.x*p.sin+q.y*p.cos))
}

// polygon returns n corners around the centre, alternately at the two radii.
func polygon(n int, even, odd float64) []point {
	points := make([]point, n)
	for i := range points {
		r := even
		if i%2 == 1 {
			r = odd
		}
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / float64(n))
		points[i] = point{r * cos, r * sin}
	}
	return points
}

func rectangle(half float64) []point {
	return []point{{-half, -half}, {half, -half}, {half, half}, {-half, half}}
}

func reversed(points []point) []point {
	for i, j := 0, len(points)-1; i < j; i, j = i+1, j-1 {
		points[i], points[j] = points[j], points[i]
	}
	return points
}
