package nn

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// CHWN is the layout of GoMLX's Go backend: [C, H, W, B] with convolutions as matrix products over unfolded columns. A
// sum or a broadcast along an axis is a product with a vector of ones, which that backend does several times faster than
// a reduction or an implicit broadcast.
type CHWN struct {
	// Training says that the graph will be differentiated, once. Without it layers carry no gradient of their own.
	Training bool
}

var _ Layers = CHWN{}

// Input implements Layers.
func (CHWN) Input(images *Node, mean, std [3]float32) *Node {
	x := graph.TransposeAllAxes(images, 3, 1, 2, 0)
	if images.DType() != dtypes.Uint8 {
		return x
	}
	scale, shift := normalisation(x, mean, std)
	x = graph.ConvertDType(x, dtypes.Float32)
	return graph.Add(graph.Mul(x, graph.Reshape(scale, 3, 1, 1, 1)), graph.Reshape(shift, 3, 1, 1, 1))
}

// Activate implements Layers.
func (l CHWN) Activate(x *Node, kind Activation) *Node {
	if kind != ReLU {
		return kind.Apply(x)
	}
	y := graph.Max(x, zero(x))
	return l.withGradient(y, func(v *Node) []*Node {
		return []*Node{graph.Where(graph.GreaterThan(y, zero(y)), v, graph.ZerosLike(v))}
	}, x)
}

// Pool implements Layers.
func (CHWN) Pool(x *Node) *Node {
	d := x.Shape().Dimensions
	sum := graph.ReduceSum(graph.ReduceSum(x, 2), 1) // in two stages, for the rounding's sake
	return graph.TransposeAllAxes(graph.MulScalar(sum, 1/float64(d[1]*d[2])), 1, 0)
}

// MaxPool implements Layers. The gradient goes to the first of equal maxima, row by row, as torch's does.
func (l CHWN) MaxPool(x *Node) *Node {
	const k, stride, pad = 3, 2, 1
	d := x.Shape().Dimensions
	low := graph.Const(x.Graph(), float32(math.Inf(-1)))
	padded := graph.Pad(x, low, graph.PadAxis{}, graph.PadAxis{Start: pad, End: pad}, graph.PadAxis{Start: pad, End: pad})
	ho, wo := outputs(d[1], k, stride), outputs(d[2], k, stride)
	var taps []*Node
	for i := range k {
		for j := range k {
			taps = append(taps, slice(padded, window{i, ho, stride}, window{j, wo, stride}))
		}
	}
	y := taps[0]
	for _, tap := range taps[1:] {
		y = graph.Max(y, tap)
	}
	return l.withGradient(y, func(v *Node) []*Node {
		var dx *Node
		for t, tap := range taps {
			hit := graph.Equal(tap, y)
			part := spread(graph.Where(hit, v, graph.ZerosLike(v)), t/k, t%k, d[1]+2*pad, d[2]+2*pad, stride)
			v = graph.Where(hit, graph.ZerosLike(v), v)
			if dx == nil {
				dx = part
			} else {
				dx = graph.Add(dx, part)
			}
		}
		return []*Node{slice(dx, window{pad, d[1], 1}, window{pad, d[2], 1})}
	}, x)
}

// withGradient attaches a gradient where there will be one.
func (l CHWN) withGradient(y *Node, vjp func(v *Node) []*Node, inputs ...*Node) *Node {
	if !l.Training {
		return y
	}
	return withGradient(y, vjp, inputs...)
}

func zero(x *Node) *Node { return graph.ScalarZero(x.Graph(), x.DType()) }

// rows is x as a matrix [first axis, the rest].
func rows(x *Node) *Node {
	d := x.Shape().Dimensions
	return graph.Reshape(x, d[0], x.Shape().Size()/d[0])
}

// The three products: a·b, a·bᵀ and aᵀ·b.
func product(a, b *Node) *Node           { return graph.DotGeneral(a, []int{1}, nil, b, []int{0}, nil) }
func productTransposed(a, b *Node) *Node { return graph.DotGeneral(a, []int{1}, nil, b, []int{1}, nil) }
func transposedProduct(a, b *Node) *Node { return graph.DotGeneral(a, []int{0}, nil, b, []int{0}, nil) }
func ones(x *Node, dims ...int) *Node    { return graph.Ones(x.Graph(), shapes.Make(x.DType(), dims...)) }

// window picks count positions from start, stride apart.
type window struct{ start, count, stride int }

func (w window) axis() graph.SliceAxisSpec {
	return graph.AxisRange(w.start, w.start+(w.count-1)*w.stride+1).Stride(w.stride)
}

// slice takes a window of rows and columns of x [C, H, W, B]. The Go backend copies element by element, so two float32
// travel as one float64.
func slice(x *Node, h, w window) *Node {
	d := x.Shape().Dimensions
	if x.DType() != dtypes.Float32 || d[3]%2 != 0 {
		return graph.Slice(x, graph.AxisRange(), h.axis(), w.axis(), graph.AxisRange())
	}
	pairs := graph.Bitcast(graph.Reshape(x, d[0], d[1], d[2], d[3]/2, 2), dtypes.Float64)
	pairs = graph.Slice(pairs, graph.AxisRange(), h.axis(), w.axis(), graph.AxisRange())
	return graph.Reshape(graph.Bitcast(pairs, dtypes.Float32), d[0], h.count, w.count, d[3])
}

// pad surrounds x [C, H, W, B] with zeros.
func pad(x *Node, top, bottom, left, right int) *Node {
	return graph.Pad(x, zero(x), graph.PadAxis{}, graph.PadAxis{Start: top, End: bottom}, graph.PadAxis{Start: left, End: right})
}

// spread puts x [C, h, w, B] on a grid of zeros [C, height, width, B]: element (a, b) goes to (top + a*stride, left + b*stride).
func spread(x *Node, top, left, height, width, stride int) *Node {
	d := x.Shape().Dimensions
	axis := func(start, n, size int) graph.PadAxis {
		return graph.PadAxis{Start: start, Interior: stride - 1, End: size - start - (n-1)*stride - 1}
	}
	return graph.Pad(x, zero(x), graph.PadAxis{}, axis(top, d[1], height), axis(left, d[2], width))
}
