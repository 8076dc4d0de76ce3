package train

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
)

// optimize moves the query encoder's parameters and returns the gradients, in the parameters' order, and their norm.
func (t *Trainer) optimize(loss, hyper *Node) (gradients []*Node, norm *Node) {
	g := loss.Graph()
	var variables []*model.Variable
	var values []*Node
	for _, p := range t.parameters {
		if p.Trainable() {
			v := t.variable(queryEncoder + "/" + p.Name)
			variables, values = append(variables, v), append(values, v.NodeValue(g))
		}
	}
	gradients = graph.Gradient(loss, values...)
	norm = graph.ScalarZero(g, dtypes.Float32)
	for i, v := range variables {
		norm = graph.Add(norm, graph.ReduceAllSum(graph.Square(gradients[i])))
		slots := t.slots(v)
		state := make([]*Node, len(slots))
		for j, s := range slots {
			state[j] = s.NodeValue(g)
		}
		moved, next := t.options.Optimizer.update(values[i], gradients[i], hyper, state)
		v.SetNodeValue(moved)
		for j, s := range slots {
			s.SetNodeValue(next[j])
		}
	}
	return gradients, graph.Sqrt(norm)
}
