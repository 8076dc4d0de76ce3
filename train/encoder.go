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
	x = f.activate(f.norm("bn1", f.conv("conv1", x, stride)))
	if f.options.Stem == "imagenet" {
		x = f.layers.MaxPool(x)
	}
	in := f.options.Width
	for stage, count := range blocks[f.options.Arch] {
		for index := range count {
			x, in = f.block(blockOf(stage, index), x, in)
		}
	}
	return f.layers.Pool(x)
}

// head returns the projection [B, dim] of features [B, F], not normalised.
func (f forward) head(features *Node) *Node {
	if f.options.Head == "linear" {
		return f.linear("fc", features)
	}
	hidden := nn.ReLU.Apply(f.linear("fc.0", features)) // ReLU whatever the encoder's activation is
	return f.linear("fc.2", hidden)
}

// embed returns the embedding [B, dim] of images, rows of length 1.
func (f forward) embed(images *Node, mean, std [3]float32) *Node {
	return nn.Normalize(f.head(f.features(images, mean, std)))
}

// block is a residual block (He et al. 2015; stride on the 3x3 convolution, as torchvision).
func (f forward) block(b blockOptions, x *Node, in int) (y *Node, out int) {
	_, out = b.channels(f.options)
	name := func(part string, i int) string { return fmt.Sprintf("%s.%s%d", b.name(), part, i) }
	strides := []int{b.stride(), 1}
	if f.options.bottleneck() {
		strides = []int{1, b.stride(), 1}
	}
	y = x
	for i, stride := range strides {
		y = f.norm(name("bn", i+1), f.conv(name("conv", i+1), y, stride))
		if i < len(strides)-1 {
			y = f.activate(y)
		}
	}
	if b.stride() != 1 || in != out {
		x = f.norm(b.name()+".downsample.1", f.conv(b.name()+".downsample.0", x, b.stride()))
	}
	return f.activate(graph.Add(y, x)), out
}

func (f forward) value(name string, in *Node) *Node { return f.lookup(name).NodeValue(in) }

func (f forward) activate(x *Node) *Node {
	return f.layers.Activate(x, nn.Activation(f.options.Activation))
}

func (f forward) conv(name string, x *Node, stride int) *Node {
	return f.layers.Conv(x, f.value(name+".weight", x), stride, 1)
}

func (f forward) linear(name string, x *Node) *Node {
	return nn.Linear(x, f.value(name+".weight", x), f.value(name+".bias", x))
}

func (f forward) norm(name string, x *Node) *Node {
	gamma, beta := f.value(name+".weight", x), f.value(name+".bias", x)
	mean, variance := f.lookup(name+".running_mean"), f.lookup(name+".running_var")
	if f.groups == 0 {
		return f.layers.BatchNormInference(x, gamma, beta, mean.NodeValue(x), variance.NodeValue(x))
	}
	y, batchMean, batchVariance := f.layers.BatchNorm(x, gamma, beta, f.groups)
	if f.momentum != nil {
		f.move(mean, batchMean)
		f.move(variance, batchVariance)
	}
	return y
}

// move sets running to (1-momentum)*running + momentum*batch.
func (f forward) move(running *model.Variable, batch *Node) {
	old := running.NodeValue(batch)
	running.SetNodeValue(graph.Add(old, graph.Mul(f.momentum, graph.Sub(batch, old))))
}
