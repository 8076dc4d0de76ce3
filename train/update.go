package train

// optimize moves the weights by their gradients, in the order of t.weights, and returns the gradients' norm, as it was
// before they were clipped.
func (t *Trainer) optimize(gradients []*Node, hyper *Node) (length *Node) {
	g := hyper.Graph()
	length = norm(gradients...)
	clipped := t.options.Optimizer.clipped(gradients, length)
	for i, w := range t.weights {
		slots := t.slots(w)
		state := make([]*Node, len(slots))
		for j, s := range slots {
			state[j] = s.NodeValue(g)
		}
		v := t.variable(w.variable())
		moved, next := t.options.Optimizer.update(v.NodeValue(g), clipped[i], hyper, state)
		v.SetNodeValue(moved)
		for j, s := range slots {
			s.SetNodeValue(next[j])
		}
	}
	return length
}
