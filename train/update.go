package train

import (
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
)

// optimize moves the query encoder's parameters and returns the gradients, in the parameters' order, and their norm, both
// as they were before they were clipped.
func (t *Trainer) optimize(loss, hyper *Node) (gradients []*Node, length *Node) {
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
	length = norm(gradients...)
	clipped := t.options.Optimizer.clipped(gradients, length)
	for i, v := range variables {
		slots := t.slots(v)
		state := make([]*Node, len(slots))
		for j, s := range slots {
			state[j] = s.NodeValue(g)
		}
		moved, next := t.options.Optimizer.update(values[i], clipped[i], hyper, state)
		v.SetNodeValue(moved)
		for j, s := range slots {
			s.SetNodeValue(next[j])
		}
	}
	return gradients, length
}
