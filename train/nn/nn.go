// Package nn builds the layers of a convolutional encoder as GoMLX graphs in one of two memory layouts, behind one
// interface: nothing outside this package knows which is in use.
//
//   - NHWC with native convolutions, for XLA.
//   - CHWN, channels first and batch last, for GoMLX's pure-Go backend: there a native convolution is about fifty times
//     slower than a matrix product, and in this layout every product of a convolution's forward and backward pass is in
//     the products' natural order, so nothing is ever transposed.
//
// Parameters have PyTorch's shapes in both (convolutions [out, in, k, k], linear layers [out, in]), so that checkpoints
// need no conversion.
package nn

import (
	"github.com/gomlx/gomlx/core/graph"
)

// Node is a value in a graph.
type Node = graph.Node

// Epsilon is torch's BatchNorm epsilon.
const Epsilon = 1e-5

// Layers builds layers in one layout. An activation is opaque to callers: only the Layers that made it may take it.
// Methods panic on shapes that do not fit, as GoMLX graph functions do.
type Layers interface {
	// Input turns images [B, H, W, 3] into an activation. uint8 images are normalised as (x/255 - mean) / std; float32
	// images are taken as normalised already.
	Input(images *Node, mean, std [3]float32) *Node
	// Conv is a convolution without bias with weights [out, in/groups, k, k], k odd, zero padding (k-1)/2 on each side.
	// Each of groups runs of consecutive output channels sees its run of input channels alone (1: all of them).
	Conv(x, weight *Node, stride, groups int) *Node
	// BatchNorm normalises with the statistics of the batch, taken over each of groups runs of B/groups consecutive
	// samples. It returns, beside the activation, mean and unbiased variance [C], averaged over the groups, outside the
	// gradient.
	BatchNorm(x, gamma, beta *Node, groups int) (y, mean, variance *Node)
	// Bias adds a value [C] to all pixels of each channel.
	Bias(x, value *Node) *Node
	// Activate applies max(x, 0) (gradient 0 at 0, as torch) or x*sigmoid(x).
	Activate(x *Node, kind Activation) *Node
	// MaxPool takes the maximum over 3x3 windows, stride 2, padding 1 (torchvision's stem).
	MaxPool(x *Node) *Node
	// Pool is the mean over all pixels: [B, C].
	Pool(x *Node) *Node
}

// Activation is a non-linearity.
type Activation string

// The activations. SiLU is smooth, which makes it the choice for numerical comparisons over several steps.
const (
	ReLU Activation = "relu"
	SiLU Activation = "silu"
)

// Apply applies the activation to a plain tensor.
func (a Activation) Apply(x *Node) *Node {
	if a == SiLU {
		return graph.Mul(x, graph.Sigmoid(x))
	}
	zero := graph.ScalarZero(x.Graph(), x.DType())
	return graph.Where(graph.GreaterThan(x, zero), x, graph.ZerosLike(x))
}

// Linear is x [B, in] times weight [out, in] transposed, plus bias [out].
func Linear(x, weight, bias *Node) *Node {
	y := graph.DotGeneral(x, []int{1}, nil, weight, []int{1}, nil)
	return graph.Add(y, graph.Reshape(bias, 1, bias.Shape().Dimensions[0]))
}

// Affine returns scale and shift [C] that stand for a BatchNorm with fixed statistics [C]. In inference they go into the
// layer before it (Scaled), which saves passes over its output.
func Affine(gamma, beta, mean, variance *Node) (scale, shift *Node) {
	scale = graph.Mul(gamma, inverseRoot(variance))
	return scale, graph.Sub(beta, graph.Mul(mean, scale))
}

// Scaled multiplies the weights [out, ...] of each output by its scale [out].
func Scaled(weight, scale *Node) *Node {
	dims := make([]int, weight.Rank())
	for i := range dims {
		dims[i] = 1
	}
	dims[0] = scale.Shape().Dimensions[0]
	return graph.Mul(weight, graph.Reshape(scale, dims...))
}

// Normalize scales each row of x [B, D] to length 1, as torch.nn.functional.normalize does.
func Normalize(x *Node) *Node {
	norm := graph.Sqrt(graph.ReduceAndKeep(graph.Square(x), graph.ReduceSum, 1))
	return graph.Div(x, graph.MaxScalar(norm, 1e-12))
}
