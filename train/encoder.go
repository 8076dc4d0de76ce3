package train

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
	"mocostream/train/nn"
)

// Node is a value in a GoMLX graph.
type Node = graph.Node

// The two encoders of MoCo, as checkpoints prefix them.
const (
	queryEncoder = "encoder_q"
	keyEncoder   = "encoder_k"
)

// forward builds one pass of an encoder into a graph.
type forward struct {
	options EncoderOptions
	layers  nn.Layers
	// lookup finds the encoder's variable of a torchvision name.
	lookup func(name string) *model.Variable
	// groups is the number of BatchNorm groups; 0 takes the running statistics (inference).
	groups int
	// momentum moves running statistics towards the batch's; nil leaves them alone.
	momentum *Node
}

// features returns the backbone's output [B, F] of images [B, H, W, 3].
func (f forward) features(images *Node, mean, std [3]float32) *Node {
	x := f.layers.Input(images, mean, std)
	stride := 1
	if f.options.Stem == "imagenet" {
		stride = 2
	}
	x = f.activate(f.convNorm("conv1", "bn1", x, stride, 1))
	if f.options.Stem == "imagenet" {
		x = f.layers.MaxPool(x)
	}
	in := f.options.Width
	for name, b := range f.options.blocks() {
		x = f.block(name, b, x, in)
		_, in = b.channels()
	}
	return f.layers.Pool(x)
}

// head returns the projection [B, dim] of features [B, F], not normalised. Its ReLU stays one whatever the encoder's
// activation is.
func (f forward) head(features *Node) *Node {
	switch f.options.Head {
	case headMLP:
		return f.linear("fc.2", nn.ReLU.Apply(f.linear("fc.0", features)))
	case headMLPBN:
		return f.linear("fc.3", nn.ReLU.Apply(f.linearNorm("fc.0", "fc.1", features)))
	}
	return f.linear("fc", features)
}

// embed returns the embedding [B, dim] of images, rows of length 1.
func (f forward) embed(images *Node, mean, std [3]float32) *Node {
	return nn.Normalize(f.head(f.features(images, mean, std)))
}

// block is a residual block by torchvision's name, of in channels.
func (f forward) block(name string, b block, x *Node, in int) *Node {
	y := x
	convolutions := b.convolutions(in)
	for i, c := range convolutions {
		y = f.convNorm(fmt.Sprintf("%s.conv%d", name, i+1), fmt.Sprintf("%s.bn%d", name, i+1), y, c.stride, c.groups)
		if i < len(convolutions)-1 {
			y = f.activate(y)
		}
	}
	if b.downsamples(in) {
		x = f.convNorm(name+".downsample.0", name+".downsample.1", x, b.stride(), 1)
	}
	return f.activate(graph.Add(y, x))
}

func (f forward) value(name string, in *Node) *Node { return f.lookup(name).NodeValue(in) }

func (f forward) activate(x *Node) *Node {
	return f.layers.Activate(x, nn.Activation(f.options.Activation))
}

// convNorm is a convolution and the BatchNorm after it, which inference takes into the weights.
func (f forward) convNorm(conv, norm string, x *Node, stride, groups int) *Node {
	weight := f.value(conv+".weight", x)
	if f.groups == 0 {
		scale, shift := f.affine(norm, x)
		return f.layers.Bias(f.layers.Conv(x, nn.Scaled(weight, scale), stride, groups), shift)
	}
	return f.norm(f.layers.BatchNorm, norm, f.layers.Conv(x, weight, stride, groups))
}

// linearNorm is a linear layer and the BatchNorm after it, which inference takes into weights and bias.
func (f forward) linearNorm(linear, norm string, x *Node) *Node {
	weight, bias := f.value(linear+".weight", x), f.value(linear+".bias", x)
	if f.groups == 0 {
		scale, shift := f.affine(norm, x)
		return nn.Linear(x, nn.Scaled(weight, scale), graph.Add(nn.Scaled(bias, scale), shift))
	}
	return f.norm(nn.BatchNormRows, norm, nn.Linear(x, weight, bias))
}

func (f forward) linear(name string, x *Node) *Node {
	return nn.Linear(x, f.value(name+".weight", x), f.value(name+".bias", x))
}

// affine is a BatchNorm with its running statistics.
func (f forward) affine(name string, in *Node) (scale, shift *Node) {
	return nn.Affine(f.value(name+".weight", in), f.value(name+".bias", in),
		f.value(name+".running_mean", in), f.value(name+".running_var", in))
}

// batchNorm is Layers.BatchNorm of activations, or BatchNormRows.
type batchNorm func(x, gamma, beta *Node, groups int) (y, mean, variance *Node)

// norm is a BatchNorm with the batch's statistics, which move the running ones.
func (f forward) norm(by batchNorm, name string, x *Node) *Node {
	y, batchMean, batchVariance := by(x, f.value(name+".weight", x), f.value(name+".bias", x), f.groups)
	if f.momentum != nil {
		f.move(f.lookup(name+".running_mean"), batchMean)
		f.move(f.lookup(name+".running_var"), batchVariance)
	}
	return y
}

// move sets running to (1-momentum)*running + momentum*batch.
func (f forward) move(running *model.Variable, batch *Node) {
	old := running.NodeValue(batch)
	running.SetNodeValue(graph.Add(old, graph.Mul(f.momentum, graph.Sub(batch, old))))
}
