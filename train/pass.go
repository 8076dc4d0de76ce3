package train

import (
	"slices"

	"mocostream/train/nn"

	"github.com/gomlx/gomlx/core/graph"
)

// pass is what a batch, or a part of it, comes to.
type pass struct {
	contrasts []contrast // one, or with Options.Symmetric one for each view as the query
	loss      *Node      // scalar: the sum over contrasts
	measures  *Node      // see measure; the mean over contrasts and parts
	gradients []*Node    // of the weights, in their order
}

// passes computes the batch's parts one after another and puts them together: gradients and measures are means, queries
// and keys those of the batch. Part i+1 takes the running statistics of BatchNorm as part i left them.
func (t *Trainer) passes(arguments []*Node) pass {
	parts := t.options.parts()
	whole := t.pass(t.part(arguments, 0))
	for i := 1; i < parts; i++ {
		whole = whole.plus(t.pass(t.part(arguments, i, append(slices.Clone(whole.gradients), whole.measures)...)))
	}
	if parts > 1 {
		whole.divide(parts)
	}
	return whole
}

// part returns the arguments of part i of the batch, not to be had before the nodes of after are computed: only then are
// the activations of the part before out of memory.
func (t *Trainer) part(arguments []*Node, i int, after ...*Node) []*Node {
	if t.options.parts() == 1 {
		return arguments
	}
	part := slices.Clone(arguments)
	for j, a := range t.arguments() {
		if !a.rows {
			continue
		}
		x := graph.Reshape(graph.Slice(arguments[j], graph.AxisElem(i)), arguments[j].Shape().Dimensions[1:]...)
		if len(after) > 0 {
			x = graph.SchedulingBarrier(x, after...)
		}
		part[j] = graph.StopGradient(x)
	}
	return part
}

// pass computes loss and gradients of the images that the arguments hold.
func (t *Trainer) pass(arguments []*Node) pass {
	p := pass{contrasts: t.mechanism.compare(arguments)}
	t.align(p.contrasts, arguments)
	var objective *Node
	for _, c := range p.contrasts {
		p.loss = plus(p.loss, infoNCE(c.positive, c.counted(), t.options.T))
		if c.apart != nil {
			objective = plus(objective, graph.MulScalar(c.apart, t.options.Align.Weight))
		}
	}
	for _, c := range p.contrasts {
		p.measures = plus(p.measures, measure(p.loss, c))
	}
	if n := len(p.contrasts); n > 1 {
		p.measures = graph.DivScalar(p.measures, n)
	}
	p.gradients = graph.Gradient(plus(objective, p.loss), t.values(p.loss.Graph())...)
	return p
}

// plus is a + b, and b where there is no a.
func plus(a, b *Node) *Node {
	if a == nil {
		return b
	}
	return graph.Add(a, b)
}

// plus adds the next part: sums of scalars and gradients, rows one after another.
func (p pass) plus(next pass) pass {
	sum := pass{loss: graph.Add(p.loss, next.loss), measures: graph.Add(p.measures, next.measures)}
	for i, c := range p.contrasts {
		sum.contrasts = append(sum.contrasts, c.joined(next.contrasts[i]))
	}
	for i, gradient := range p.gradients {
		sum.gradients = append(sum.gradients, graph.Add(gradient, next.gradients[i]))
	}
	return sum
}

// divide makes means of sums over so many parts.
func (p *pass) divide(parts int) {
	p.loss, p.measures = graph.DivScalar(p.loss, parts), graph.DivScalar(p.measures, parts)
	for i, gradient := range p.gradients {
		p.gradients[i] = graph.DivScalar(gradient, parts)
	}
}

// joined are the queries and keys of both; what they were set against is done with.
func (c contrast) joined(next contrast) contrast {
	return contrast{
		q: stacked(c.q, next.q), k: stacked(c.k, next.k),
		logits: func() *Node { return stacked(c.logits(), next.logits()) },
	}
}

// stacked puts matrices below one another.
func stacked(matrices ...*Node) *Node {
	if len(matrices) == 1 {
		return matrices[0]
	}
	return graph.Concatenate(matrices, 0)
}

// queries are the embeddings of the images [B, dim]: the query's, or halfway between those of both views.
func (p pass) queries() *Node {
	q := p.contrasts[0].q
	if len(p.contrasts) == 1 {
		return q
	}
	return nn.Normalize(graph.Add(q, p.contrasts[1].q))
}

// trace is what tests look at: q, k and logits, contrast after contrast.
func (p pass) trace() []*Node {
	var q, k, logits []*Node
	for _, c := range p.contrasts {
		q, k, logits = append(q, c.q), append(k, c.k), append(logits, c.logits())
	}
	return []*Node{stacked(q...), stacked(k...), stacked(logits...)}
}
