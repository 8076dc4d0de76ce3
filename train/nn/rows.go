package nn

import "github.com/gomlx/gomlx/core/graph"

// BatchNormRows is as Layers.BatchNorm, of a matrix x [B, C], which has no layout.
func BatchNormRows(x, gamma, beta *Node, groups int) (y, mean, variance *Node) {
	y, mean, variance = NHWC{}.BatchNorm(asPixels(x), gamma, beta, groups)
	return graph.Reshape(y, x.Shape().Dimensions...), mean, variance
}

// asPixels is x [B, C] as images [B, 1, 1, C] of one pixel.
func asPixels(x *Node) *Node {
	d := x.Shape().Dimensions
	return graph.Reshape(x, d[0], 1, 1, d[1])
}
