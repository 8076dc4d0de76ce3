package train

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
)

// Kind says what a tensor of an encoder is, and so how it starts and whether the optimizer moves it.
type Kind int

// The kinds of tensors.
const (
	ConvWeight   Kind = iota // He normal by fan-out, as torchvision
	LinearWeight             // uniform in +-1/sqrt(in), torch's default
	LinearBias
	Scale           // BatchNorm's weight: 1
	Shift           // BatchNorm's bias: 0
	RunningMean     // 0; no parameter
	RunningVariance // 1; no parameter
)

// Parameter describes one tensor of an encoder by torchvision's name, without the encoder's prefix.
type Parameter struct {
	Name  string
	Shape []int
	Kind  Kind
	fanIn int // of linear layers
}

// Trainable says whether gradients move the tensor.
func (p Parameter) Trainable() bool { return p.Kind != RunningMean && p.Kind != RunningVariance }

// Size is the number of elements.
func (p Parameter) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Parameters lists the tensors of the encoder in torchvision's order, head included, num_batches_tracked left out.
func (o EncoderOptions) Parameters() []Parameter {
	var l parameterList
	k := 3
	if o.Stem == "imagenet" {
		k = 7
	}
	l.conv("conv1", o.Width, 3, k)
	l.norm("bn1", o.Width)
	in := o.Width
	for stage, count := range blocks[o.Arch] {
		for block := range count {
			in = l.block(o, blockOf(stage, block), in)
		}
	}
	l.head(o)
	return l
}

// blockOptions places a residual block: stage and index from 0.
type blockOptions struct{ stage, index int }

func blockOf(stage, index int) blockOptions { return blockOptions{stage, index} }

func (b blockOptions) name() string { return fmt.Sprintf("layer%d.%d", b.stage+1, b.index) }

// stride is 2 for the first block of every stage but the first.
func (b blockOptions) stride() int {
	if b.stage > 0 && b.index == 0 {
		return 2
	}
	return 1
}

// channels returns the block's inner and outer width.
func (b blockOptions) channels(o EncoderOptions) (inner, outer int) {
	inner = o.Width << b.stage
	if o.bottleneck() {
		return inner, inner * 4
	}
	return inner, inner
}

type parameterList []Parameter

func (l *parameterList) add(name string, kind Kind, fanIn int, shape ...int) {
	*l = append(*l, Parameter{Name: name, Shape: shape, Kind: kind, fanIn: fanIn})
}

func (l *parameterList) conv(name string, out, in, k int) {
	l.add(name+".weight", ConvWeight, 0, out, in, k, k)
}

func (l *parameterList) norm(name string, c int) {
	l.add(name+".weight", Scale, 0, c)
	l.add(name+".bias", Shift, 0, c)
	l.add(name+".running_mean", RunningMean, 0, c)
	l.add(name+".running_var", RunningVariance, 0, c)
}

func (l *parameterList) linear(name string, out, in int) {
	l.add(name+".weight", LinearWeight, in, out, in)
	l.add(name+".bias", LinearBias, in, out)
}

// block adds one residual block of in channels and returns its output channels.
func (l *parameterList) block(o EncoderOptions, b blockOptions, in int) int {
	inner, outer := b.channels(o)
	type conv struct{ out, in, k int }
	convs := []conv{{inner, in, 3}, {outer, inner, 3}}
	if o.bottleneck() {
		convs = []conv{{inner, in, 1}, {inner, inner, 3}, {outer, inner, 1}}
	}
	for i, c := range convs {
		l.conv(fmt.Sprintf("%s.conv%d", b.name(), i+1), c.out, c.in, c.k)
		l.norm(fmt.Sprintf("%s.bn%d", b.name(), i+1), c.out)
	}
	if b.stride() != 1 || in != outer {
		l.conv(b.name()+".downsample.0", outer, in, 1)
		l.norm(b.name()+".downsample.1", outer)
	}
	return outer
}

func (l *parameterList) head(o EncoderOptions) {
	f := o.Features()
	if o.Head == "linear" {
		l.linear("fc", o.Dim, f)
		return
	}
	l.linear("fc.0", f, f)
	l.linear("fc.2", o.Dim, f)
}

// Initial returns the tensor's starting values, drawn from seed and the tensor's name alone.
func (p Parameter) Initial(seed uint64) []float32 {
	values := make([]float32, p.Size())
	h := fnv.New64a()
	h.Write([]byte(p.Name))
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))
	var draw func() float64
	switch p.Kind {
	case ConvWeight:
		std := math.Sqrt(2 / float64(p.Shape[0]*p.Shape[2]*p.Shape[3]))
		draw = func() float64 { return rng.NormFloat64() * std }
	case LinearWeight, LinearBias:
		bound := 1 / math.Sqrt(float64(p.fanIn))
		draw = func() float64 { return (2*rng.Float64() - 1) * bound }
	case Scale, RunningVariance:
		draw = func() float64 { return 1 }
	default:
		return values
	}
	for i := range values {
		values[i] = float32(draw())
	}
	return values
}
