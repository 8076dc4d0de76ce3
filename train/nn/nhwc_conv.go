package nn

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
)

// convAxes are those of images [B, H, W, C] and weights [out, in, k, k].
func convAxes() compute.ConvolveAxesConfig {
	return compute.ConvolveAxesConfig{
		InputBatch: 0, InputSpatial: []int{1, 2}, InputChannels: 3,
		KernelOutputChannels: 0, KernelInputChannels: 1, KernelSpatial: []int{2, 3},
		OutputBatch: 0, OutputSpatial: []int{1, 2}, OutputChannels: 3,
	}
}

// Conv implements Layers.
func (l NHWC) Conv(x, weight *Node, stride, groups int) *Node {
	p := (weight.Shape().Dimensions[2] - 1) / 2
	weight = graph.ConvertDType(weight, x.DType()) // both gradients have x's format; the weights' is float32 again outside
	y := graph.Convolve(x, weight).AxesConfig(convAxes()).Strides(stride).ChannelGroupCount(groups).
		PaddingPerDim([][2]int{{p, p}, {p, p}}).Done()
	if groups == 1 || !l.Training {
		return y
	}
	// GoMLX differentiates a grouped convolution group by group: 64 convolutions where two do.
	return setGradient(y, func(v *Node) []*Node {
		return []*Node{groupedInputGradient(x, weight, v, stride, groups), groupedWeightGradient(x, weight, v, stride, groups)}
	})
}

// groupedInputGradient convolves the gradient v [B, H', W', out], spread out by the stride, with the reversed weights.
func groupedInputGradient(x, weight, v *Node, stride, groups int) *Node {
	k := weight.Shape().Dimensions[2]
	pad := func(axis int) [2]int {
		before := k - 1 - (k-1)/2
		spread := (v.Shape().Dimensions[axis]-1)*stride + 1
		return [2]int{before, x.Shape().Dimensions[axis] + k - 1 - before - spread}
	}
	return graph.ConvGeneral(v, backward(weight, groups), convAxes(), []int{1, 1}, [][2]int{pad(1), pad(2)},
		[]int{stride, stride}, []int{1, 1}, groups, 1)
}

// groupedWeightGradient convolves x with the gradient v [B, H', W', out]: the samples are the channels of that
// convolution, and x's channels its batch, in groups.
func groupedWeightGradient(x, weight, v *Node, stride, groups int) *Node {
	k := weight.Shape().Dimensions[2]
	pad := func(axis int) [2]int {
		before := (k - 1) / 2
		spread := (v.Shape().Dimensions[axis]-1)*stride + 1
		return [2]int{before, spread + k - 1 - x.Shape().Dimensions[axis] - before}
	}
	axes := compute.ConvolveAxesConfig{
		InputBatch: 3, InputSpatial: []int{1, 2}, InputChannels: 0,
		KernelOutputChannels: 3, KernelInputChannels: 0, KernelSpatial: []int{1, 2},
		OutputBatch: 3, OutputSpatial: []int{1, 2}, OutputChannels: 0, // batch where the input's is: the Go backend takes one for the other
	}
	dw := graph.ConvGeneral(x, v, axes, []int{1, 1}, [][2]int{pad(1), pad(2)}, []int{1, 1}, []int{stride, stride}, 1, groups)
	return graph.TransposeAllAxes(dw, 0, 3, 1, 2)
}

// backward returns the weights [in, out/groups, k, k] of the convolution that carries gradients back, from those
// [out, in/groups, k, k] of the convolution itself: taps reversed, in and out exchanged within each group.
func backward(weight *Node, groups int) *Node {
	d := weight.Shape().Dimensions
	w := graph.Reshape(graph.Reverse(weight, 2, 3), groups, d[0]/groups, d[1], d[2], d[3])
	return graph.Reshape(graph.TransposeAllAxes(w, 0, 2, 1, 3, 4), groups*d[1], d[0]/groups, d[2], d[3])
}
