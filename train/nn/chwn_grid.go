package nn

import (
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// onGrid says whether unfolding on a grid with a border beats unfolding by slices: the grid's taps are whole images,
// copied as blocks, where slices copy elements, but the product then runs over the border too. From 16 pixels a side
// the border is cheap.
func onGrid(x *Node) bool {
	return x.Shape().Dimensions[1] >= 16 && x.Shape().Dimensions[2] >= 16
}

// grid is an image [H, W] of B samples inside a border of zeros: a row above, two below and one column to the left,
// which is the row before's right border too. A 3x3 tap is then a displacement of the whole image.
type grid struct{ height, width, batch int }

func gridOf(x *Node) grid {
	d := x.Shape().Dimensions
	return grid{height: d[1], width: d[2], batch: d[3]}
}

func (g grid) pitch() int { return g.width + 1 }
func (g grid) size() int  { return (g.height + 3) * g.pitch() * g.batch }

// place returns x [C, H, W, B] on the grid: [C, size].
func (g grid) place(x *Node) *Node { return rows(pad(x, 1, 2, 1, 0)) }

// take returns the image [C, H, W, B] of y [C, size].
func (g grid) take(y *Node) *Node {
	y = graph.Reshape(y, y.Shape().Dimensions[0], g.height+3, g.pitch(), g.batch)
	return slice(y, window{1, g.height, 1}, window{1, g.width, 1})
}

// unfold returns the columns [C*9, size] of x [C, H, W, B]: for each channel nine copies of its image, with a right border,
// each as far from the last one as zeros put it. That is a single concatenation.
func (g grid) unfold(x *Node) *Node {
	channels := x.Shape().Dimensions[0]
	image := rows(pad(x, 0, 0, 0, 1))
	length := image.Shape().Dimensions[1]
	var parts []*Node
	end := 0 // of what is laid out so far
	for tap := range 9 {
		start := tap*g.size() + g.start(tap/3, tap%3)
		parts = append(parts, zeros(x, channels, start-end), image)
		end = start + length
	}
	parts = append(parts, zeros(x, channels, 9*g.size()-end))
	return graph.Reshape(graph.Concatenate(parts, 1), channels*9, g.size())
}

// start is where the image begins on the grid, so that tap (i, j) of every output pixel lies over that pixel.
func (g grid) start(i, j int) int { return ((2-i)*g.pitch() + 2 - j) * g.batch }

// convGrid is a 3x3 convolution of stride 1.
func (l CHWN) convGrid(x, weight *Node) *Node {
	g := gridOf(x)
	y := g.take(product(rows(weight), g.unfold(x)))
	return l.withGradient(y, func(v *Node) []*Node {
		unfolded := g.unfold(v)
		dw := weightGradient(g.place(x), unfolded, weight.Shape().Dimensions)
		return []*Node{g.take(product(flipped(weight), unfolded)), dw}
	}, x, weight)
}

func zeros(x *Node, dims ...int) *Node {
	return graph.Zeros(x.Graph(), shapes.Make(x.DType(), dims...))
}
