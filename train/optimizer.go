package train

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// OptimizerOptions chooses an optimizer with PyTorch's exact arithmetic.
type OptimizerOptions struct {
	Name         string // sgd (torch.optim.SGD, no Nesterov), lars (moco-v3's optimizer.py) or adamw (torch.optim.AdamW)
	Momentum     float64
	WeightDecay  float64 // on every parameter, BatchNorm's and biases too, as the reference
	Beta1, Beta2 float64
	Epsilon      float64

	ExcludeNormBias bool    // no weight decay on BatchNorm's parameters and biases; lars never has any there
	ClipNorm        float64 // the gradient's largest norm, over all parameters; 0: any
}

// slots names the optimizer's state tensors, as PyTorch does; each has the shape of its parameter.
func (o OptimizerOptions) slots() ([]string, error) {
	switch o.Name {
	case "sgd":
		return []string{"momentum_buffer"}, nil
	case "lars":
		return []string{"mu"}, nil
	case "adamw":
		return []string{"exp_avg", "exp_avg_sq"}, nil
	}
	return nil, fmt.Errorf("unknown optimizer %q; use sgd, lars or adamw", o.Name)
}

// hyper are the numbers that change from step to step, one vector of three on the device: learning rate, and AdamW's
// bias corrections 1-beta1^t and sqrt(1-beta2^t) for t updates, this one among them. Discarded steps are none, as the
// moments have not seen them.
func (o OptimizerOptions) hyper(rate float64, done int64) [3]float32 {
	t := float64(done + 1)
	return [3]float32{
		float32(rate),
		float32(1 - math.Pow(o.Beta1, t)),
		float32(math.Sqrt(1 - math.Pow(o.Beta2, t))),
	}
}

// update returns the parameter and its state after one step. hyper is [3], see above.
func (o OptimizerOptions) update(p, gradient, hyper *Node, state []*Node) (*Node, []*Node) {
	at := func(i int) *Node {
		return graph.Reshape(graph.Slice(hyper, graph.AxisElem(i)))
	}
	switch o.Name {
	case "lars":
		return o.momentumStep(p, o.scaled(p, gradient), at(0), state[0])
	case "adamw":
		return o.adamStep(p, gradient, at, state)
	}
	return o.momentumStep(p, o.decayed(p, gradient), at(0), state[0])
}

// momentumStep is the end of sgd and lars: the buffer gathers the directions, the parameter follows it.
func (o OptimizerOptions) momentumStep(p, direction, rate, buffer *Node) (*Node, []*Node) {
	buffer = graph.Add(graph.MulScalar(buffer, o.Momentum), direction)
	return graph.Sub(p, graph.Mul(rate, buffer)), []*Node{buffer}
}

// decays says whether p has weight decay. BatchNorm's parameters and biases are the ones of rank 1.
func (o OptimizerOptions) decays(p *Node) bool { return !o.ExcludeNormBias || p.Rank() > 1 }

// decayed adds sgd's weight decay to the gradient.
func (o OptimizerOptions) decayed(p, gradient *Node) *Node {
	if !o.decays(p) {
		return gradient
	}
	return graph.Add(gradient, graph.MulScalar(p, o.WeightDecay))
}

// trustCoefficient is the reference's: a step of lars at rate 1 is so large a share of the parameter's norm.
const trustCoefficient = 0.001

// scaled is lars's direction (You et al. 2017, arXiv 1708.03888, as facebookresearch/moco-v3 has it): what decays gets
// the length trustCoefficient·|p|; parameters of rank 1 have neither.
func (o OptimizerOptions) scaled(p, gradient *Node) *Node {
	if p.Rank() <= 1 {
		return gradient
	}
	d := graph.Add(gradient, graph.MulScalar(p, o.WeightDecay))
	length, own := norm(d), norm(p)
	zero, one := graph.ScalarZero(p.Graph(), p.DType()), graph.ScalarOne(p.Graph(), p.DType())
	moves := graph.LogicalAnd(graph.GreaterThan(own, zero), graph.GreaterThan(length, zero))
	ratio := graph.Div(graph.MulScalar(own, trustCoefficient), graph.Where(moves, length, one))
	return graph.Mul(d, graph.Where(moves, ratio, one))
}

// adamStep is AdamW (Loshchilov and Hutter, arXiv 1711.05101); at gives the elements of hyper.
func (o OptimizerOptions) adamStep(p, gradient *Node, at func(int) *Node, state []*Node) (*Node, []*Node) {
	mean := graph.Add(graph.MulScalar(state[0], o.Beta1), graph.MulScalar(gradient, 1-o.Beta1))
	square := graph.Add(graph.MulScalar(state[1], o.Beta2), graph.MulScalar(graph.Square(gradient), 1-o.Beta2))
	denominator := graph.AddScalar(graph.Div(graph.Sqrt(square), at(2)), o.Epsilon)
	if o.decays(p) {
		p = graph.Mul(p, graph.OneMinus(graph.MulScalar(at(0), o.WeightDecay)))
	}
	moved := graph.Mul(graph.Div(at(0), at(1)), graph.Div(mean, denominator))
	return graph.Sub(p, moved), []*Node{mean, square}
}

// clipped scales gradients of the given norm down to ClipNorm together, as torch.nn.utils.clip_grad_norm_ does.
func (o OptimizerOptions) clipped(gradients []*Node, norm *Node) []*Node {
	if o.ClipNorm <= 0 {
		return gradients
	}
	factor := graph.MinScalar(graph.MulScalar(graph.Reciprocal(graph.AddScalar(norm, 1e-6)), o.ClipNorm), 1)
	shorter := make([]*Node, len(gradients))
	for i, g := range gradients {
		shorter[i] = graph.Mul(g, factor)
	}
	return shorter
}

// norm is the L2 norm over all elements of all nodes.
func norm(nodes ...*Node) *Node {
	sum := graph.ReduceAllSum(graph.Square(nodes[0]))
	for _, n := range nodes[1:] {
		sum = graph.Add(sum, graph.ReduceAllSum(graph.Square(n)))
	}
	return graph.Sqrt(sum)
}
