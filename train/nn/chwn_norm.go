package nn

import (
	"github.com/gomlx/gomlx/core/graph"
)

// groupSums adds up and spreads out statistics of x [C, H*W*B] over groups of consecutive samples.
type groupSums struct {
	channels, height, width, batch, groups int
}

func newGroupSums(x *Node, groups int) groupSums {
	d := x.Shape().Dimensions
	return groupSums{channels: d[0], height: d[1], width: d[2], batch: d[3], groups: groups}
}

// members returns [groups, pixels*B]: 1 where a sample, repeated for so many pixels, is of the group.
func (s groupSums) members(x *Node, pixels int) *Node {
	row := pixels * s.batch
	if s.groups == 1 {
		return ones(x, 1, row)
	}
	member := make([]float32, s.groups*row)
	for i := range row {
		member[i%s.batch*s.groups/s.batch*row+i] = 1
	}
	return graph.Reshape(graph.Const(x.Graph(), member), s.groups, row)
}

// size is the number of values in a group of one channel.
func (s groupSums) size() int { return s.height * s.width * s.batch / s.groups }

// sum returns [C, groups] of x [C, H*W*B] in two stages, rows of pixels first, which keeps rounding small. In a product
// the Go backend is quick along rows of both factors (sum) or of the second (spread), and slow otherwise.
func (s groupSums) sum(x *Node) *Node {
	byRow := graph.Reshape(x, s.channels*s.height, s.width*s.batch)
	perRow := productTransposed(byRow, s.members(x, s.width))
	return graph.ReduceSum(graph.Reshape(perRow, s.channels, s.height, s.groups), 1)
}

// spread returns [C, H*W*B] of values [C, groups], row by row of pixels: longer rows of a power of two defeat the cache.
func (s groupSums) spread(values *Node) *Node {
	repeated := graph.BroadcastToDims(graph.Reshape(values, s.channels, 1, s.groups), s.channels, s.height, s.groups)
	y := product(graph.Reshape(repeated, s.channels*s.height, s.groups), s.members(values, s.width))
	return graph.Reshape(y, s.channels, s.height*s.width*s.batch)
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

// Bias implements Layers.
func (CHWN) Bias(x, value *Node) *Node {
	d := x.Shape().Dimensions
	spread := newGroupSums(x, 1).spread(graph.Reshape(value, d[0], 1))
	return graph.Add(x, graph.Reshape(spread, d...))
}
