package train

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
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

// Head says whether the tensor is the head's and not the backbone's.
func (p Parameter) Head() bool { return strings.HasPrefix(p.Name, "fc.") }

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
	for name, b := range o.blocks() {
		in = l.block(name, b, in)
	}
	l.head(o)
	return l
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
func (l *parameterList) block(name string, b block, in int) int {
	for i, c := range b.convolutions(in) {
		l.conv(fmt.Sprintf("%s.conv%d", name, i+1), c.out, c.in/c.groups, c.kernel)
		l.norm(fmt.Sprintf("%s.bn%d", name, i+1), c.out)
	}
	_, outer := b.channels()
	if b.downsamples(in) {
		l.conv(name+".downsample.0", outer, in, 1)
		l.norm(name+".downsample.1", outer)
	}
	return outer
}

func (l *parameterList) head(o EncoderOptions) {
	f := o.Features()
	switch o.Head {
	case headLinear:
		l.linear("fc", o.Dim, f)
	case headMLP:
		l.linear("fc.0", f, f)
		l.linear("fc.2", o.Dim, f)
	case headMLPBN:
		l.linear("fc.0", f, f)
		l.norm("fc.1", f)
		l.linear("fc.3", o.Dim, f)
	}
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
