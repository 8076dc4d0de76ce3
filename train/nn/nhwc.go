package nn

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// NHWC is the layout of XLA: [B, H, W, C] with native convolutions, gradients by GoMLX's own differentiation.
type NHWC struct {
	// Training says that the graph will be differentiated, once. Without it layers carry no gradient of their own.
	Training bool
	// Half makes activations, convolutions and their gradients bfloat16. Parameters, BatchNorm's statistics and arithmetic,
	// and what Pool returns stay float32.
	Half bool
}

var _ Layers = NHWC{}

// Input implements Layers.
func (l NHWC) Input(images *Node, mean, std [3]float32) *Node {
	if images.DType() != dtypes.Uint8 {
		return l.activation(images)
	}
	x := graph.ConvertDType(images, dtypes.Float32)
	scale, shift := normalisation(x, mean, std)
	return l.activation(graph.Add(graph.Mul(x, graph.Reshape(scale, 1, 1, 1, 3)), graph.Reshape(shift, 1, 1, 1, 3)))
}

// activation is x in the number format of activations.
func (l NHWC) activation(x *Node) *Node {
	if l.Half {
		return graph.ConvertDType(x, dtypes.BFloat16)
	}
	return x
}

// full is x in the format in which sums are taken.
func full(x *Node) *Node { return graph.ConvertDType(x, dtypes.Float32) }

// normalisation returns scale and shift [3] with (x/255 - mean)/std = x*scale + shift.
func normalisation(x *Node, mean, std [3]float32) (scale, shift *Node) {
	a, b := make([]float32, 3), make([]float32, 3)
	for c := range 3 {
		a[c] = float32(1 / (255 * float64(std[c])))
		b[c] = float32(-float64(mean[c]) / float64(std[c]))
	}
	return graph.Const(x.Graph(), a), graph.Const(x.Graph(), b)
}

// BatchNorm implements Layers.
func (l NHWC) BatchNorm(x, gamma, beta *Node, groups int) (y, mean, variance *Node) {
	dims := x.Shape().Dimensions
	c := dims[3]
	m := x.Shape().Size() / c / groups
	grouped := graph.Reshape(full(x), groups, dims[0]/groups, dims[1]*dims[2], c)
	mu := groupMean(grouped)
	centred := graph.Sub(grouped, mu)
	v := groupMean(graph.Square(centred))
	scale := graph.Mul(inverseRoot(v), graph.Reshape(gamma, 1, 1, 1, c))
	y = graph.Add(graph.Mul(centred, scale), graph.Reshape(beta, 1, 1, 1, c))
	mean = graph.Reshape(graph.ReduceMean(mu, 0), c)
	variance = graph.MulScalar(graph.Reshape(graph.ReduceMean(v, 0), c), unbiased(m))
	return l.activation(graph.Reshape(y, dims...)), graph.StopGradient(mean), graph.StopGradient(variance)
}

// groupMean is the mean [groups, 1, 1, C] of x [groups, samples, pixels, C]. It adds up in two stages, which keeps the
// rounding error small where a backend adds one after the other; XLA makes one reduction of them.
func groupMean(x *Node) *Node {
	d := x.Shape().Dimensions
	sum := graph.ReduceAndKeep(graph.ReduceAndKeep(x, graph.ReduceSum, 2), graph.ReduceSum, 1)
	return graph.MulScalar(sum, 1/float64(d[1]*d[2]))
}

// inverseRoot is 1/sqrt(variance + epsilon). GoMLX has no gradient for Rsqrt.
func inverseRoot(variance *Node) *Node {
	return graph.Reciprocal(graph.Sqrt(graph.AddScalar(variance, Epsilon)))
}

// unbiased is the factor from a biased variance of m values to an unbiased one.
func unbiased(m int) float64 { return float64(m) / math.Max(float64(m-1), 1) }

// Bias implements Layers.
func (l NHWC) Bias(x, value *Node) *Node {
	return l.activation(graph.Add(full(x), graph.Reshape(value, 1, 1, 1, x.Shape().Dimensions[3])))
}

// Activate implements Layers.
func (NHWC) Activate(x *Node, kind Activation) *Node { return kind.Apply(x) }

// MaxPool implements Layers.
func (NHWC) MaxPool(x *Node) *Node {
	return graph.MaxPool(x).Window(3).Strides(2).PaddingPerDim([][2]int{{1, 1}, {1, 1}}).Done()
}

// Pool implements Layers.
func (NHWC) Pool(x *Node) *Node { return graph.ReduceMean(full(x), 1, 2) }
