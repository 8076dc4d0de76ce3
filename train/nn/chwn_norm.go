package nn

import (
	"github.com/gomlx/gomlx/core/graph"
)

// groupSums adds up and spreads out statistics of x [C, H*W*B] over groups of consecutive samples.
type groupSums struct {
	channels, height, pixels, batch, groups int
	member                                  *Node // [groups, B]: 1 where the sample is of the group
}

func newGroupSums(x *Node, groups int) groupSums {
	d := x.Shape().Dimensions
	s := groupSums{channels: d[0], height: d[1], pixels: d[1] * d[2], batch: d[3], groups: groups}
	member := make([]float32, groups*s.batch)
	for i := range s.batch {
		member[i*groups/s.batch*s.batch+i] = 1
	}
	s.member = graph.Reshape(graph.Const(x.Graph(), member), groups, s.batch)
	return s
}

// size is the number of values in a group of one channel.
func (s groupSums) size() int { return s.pixels * s.batch / s.groups }

// sum returns [C, groups] of x [C, H*W*B], adding samples first, then pixels, which keeps rounding small. In a product
// the Go backend is quick along rows of both factors (sums) or of the second (spread), and slow otherwise.
func (s groupSums) sum(x *Node) *Node {
	perPixel := productTransposed(graph.Reshape(x, s.channels*s.pixels, s.batch), s.member)
	if s.groups == 1 {
		return productTransposed(graph.Reshape(perPixel, s.channels, s.pixels), ones(x, 1, s.pixels))
	}
	return graph.ReduceSum(graph.Reshape(perPixel, s.channels, s.pixels, s.groups), 1)
}

// spread returns [C, H*W*B] of values [C, groups].
func (s groupSums) spread(values *Node) *Node {
	if s.groups == 1 { // by rows of pixels: long rows of a power of two defeat the cache
		perRow := graph.Reshape(product(values, ones(values, 1, s.height)), s.channels*s.height, 1)
		y := product(perRow, ones(values, 1, s.pixels/s.height*s.batch))
		return graph.Reshape(y, s.channels, s.pixels*s.batch)
	}
	perSample := graph.Reshape(product(values, s.member), s.channels, 1, s.batch)
	y := graph.DotGeneral(ones(values, s.channels, s.pixels, 1), []int{2}, []int{0}, perSample, []int{1}, []int{0})
	return graph.Reshape(y, s.channels, s.pixels*s.batch)
}

// BatchNorm implements Layers, with the gradient written out (Ioffe and Szegedy 2015, section 3).
func (l CHWN) BatchNorm(x, gamma, beta *Node, groups int) (y, mean, variance *Node) {
	d := x.Shape().Dimensions
	s := newGroupSums(x, groups)
	share := 1 / float64(s.size())
	mu := graph.MulScalar(s.sum(rows(x)), share)
	centred := graph.Sub(rows(x), s.spread(mu))
	v := graph.MulScalar(s.sum(graph.Square(centred)), share)
	inverse := inverseRoot(v)
	scale := graph.Mul(inverse, graph.Reshape(gamma, d[0], 1)) // [C, groups]
	shift := graph.BroadcastToDims(graph.Reshape(beta, d[0], 1), d[0], groups)
	y = graph.Add(graph.Mul(centred, s.spread(scale)), s.spread(shift))

	y = l.withGradient(graph.Reshape(y, d...), func(dy *Node) []*Node {
		dy = rows(dy)
		sumDy := s.sum(dy)
		sumDyX := s.sum(graph.Mul(dy, centred))
		dBeta := graph.ReduceSum(sumDy, 1)
		dGamma := graph.ReduceSum(graph.Mul(sumDyX, inverse), 1)
		offset := graph.MulScalar(graph.Mul(scale, sumDy), share)
		slope := graph.MulScalar(graph.Mul(scale, graph.Mul(graph.Square(inverse), sumDyX)), share)
		dx := graph.Sub(graph.Sub(graph.Mul(dy, s.spread(scale)), graph.Mul(centred, s.spread(slope))), s.spread(offset))
		return []*Node{graph.Reshape(dx, d...), dGamma, dBeta}
	}, x, gamma, beta)
	mean = graph.StopGradient(graph.ReduceMean(mu, 1))
	variance = graph.StopGradient(graph.MulScalar(graph.ReduceMean(v, 1), unbiased(s.size())))
	return y, mean, variance
}

// BatchNormInference implements Layers.
func (CHWN) BatchNormInference(x, gamma, beta, mean, variance *Node) *Node {
	d := x.Shape().Dimensions
	s := newGroupSums(x, 1)
	scale, shift := affine(gamma, beta, mean, variance)
	spread := func(v *Node) *Node { return s.spread(graph.Reshape(v, d[0], 1)) }
	return graph.Reshape(graph.Add(graph.Mul(rows(x), spread(scale)), spread(shift)), d...)
}
