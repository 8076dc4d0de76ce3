package train

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"
)

// OptimizerOptions chooses an optimizer with PyTorch's exact arithmetic.
type OptimizerOptions struct {
	Name         string // sgd (torch.optim.SGD, no Nesterov) or adamw (torch.optim.AdamW)
	Momentum     float64
	WeightDecay  float64 // on every parameter, BatchNorm's and biases too, as the reference
	Beta1, Beta2 float64
	Epsilon      float64
}

// slots names the optimizer's state tensors, as PyTorch does; each has the shape of its parameter.
func (o OptimizerOptions) slots() ([]string, error) {
	switch o.Name {
	case "sgd":
		return []string{"momentum_buffer"}, nil
	case "adamw":
		return []string{"exp_avg", "exp_avg_sq"}, nil
	}
	return nil, fmt.Errorf("unknown optimizer %q; use sgd or adamw", o.Name)
}

// hyper are the numbers that change from step to step, one vector of three on the device: learning rate, and AdamW's
// bias corrections 1-beta1^t and sqrt(1-beta2^t) for t finished steps and this one.
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
	if o.Name == "sgd" {
		d := graph.Add(gradient, graph.MulScalar(p, o.WeightDecay))
		buffer := graph.Add(graph.MulScalar(state[0], o.Momentum), d)
		return graph.Sub(p, graph.Mul(at(0), buffer)), []*Node{buffer}
	}
	mean := graph.Add(graph.MulScalar(state[0], o.Beta1), graph.MulScalar(gradient, 1-o.Beta1))
	square := graph.Add(graph.MulScalar(state[1], o.Beta2), graph.MulScalar(graph.Square(gradient), 1-o.Beta2))
	denominator := graph.AddScalar(graph.Div(graph.Sqrt(square), at(2)), o.Epsilon)
	decayed := graph.Mul(p, graph.OneMinus(graph.MulScalar(at(0), o.WeightDecay)))
	moved := graph.Mul(graph.Div(at(0), at(1)), graph.Div(mean, denominator))
	return graph.Sub(decayed, moved), []*Node{mean, square}
}
