package nn

import "github.com/gomlx/gomlx/core/graph"

// Rows is BatchNorm over matrices [B, C], which have no layout.
type Rows struct{}

// BatchNorm is as Layers.BatchNorm, of x [B, C].
func (Rows) BatchNorm(x, gamma, beta *Node, groups int) (y, mean, variance *Node) {
	y, mean, variance = NHWC{}.BatchNorm(asPixels(x), gamma, beta, groups)
	return graph.Reshape(y, x.Shape().Dimensions...), mean, variance
}

// BatchNormInference is as Layers.BatchNormInference, of x [B, C].
func (Rows) BatchNormInference(x, gamma, beta, mean, variance *Node) *Node {
	y := NHWC{}.BatchNormInference(asPixels(x), gamma, beta, mean, variance)
	return graph.Reshape(y, x.Shape().Dimensions...)
}

// asPixels is x [B, C] as images [B, 1, 1, C] of one pixel.
func asPixels(x *Node) *Node {
	d := x.Shape().Dimensions
	return graph.Reshape(x, d[0], 1, 1, d[1])
}
