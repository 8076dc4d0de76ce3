package train

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
	"mocostream/train/nn"
)

// batchNormMomentum is torch's: running = 0.9 running + 0.1 batch.
const batchNormMomentum = 0.1

// buildStep is one optimisation step as a graph (arXiv 1911.05722, algorithm 1; order of the reference implementation:
// the momentum update comes before the keys, the keys enter the queue after the logits). Inputs: the mechanism's
// arguments, then hyper [3]. Output: the report, and with Options.Queries the queries.
func (t *Trainer) buildStep(_ *model.Scope, inputs []*Node) []*Node {
	arguments, hyper := inputs[:len(inputs)-1], inputs[len(inputs)-1]
	t.mechanism.prepare(hyper.Graph())
	if o := t.options.Align; o.on() {
		t.follow(hyper.Graph(), slowEncoder, o.Momentum)
	}
	p := t.passes(arguments)
	t.mechanism.finish(arguments, p.contrasts)
	norm := t.optimize(p.gradients, hyper)
	t.writeBack(hyper.Graph(), p.loss, norm)
	outputs := []*Node{report(p.measures, norm)}
	if t.traced {
		outputs = append(append(outputs, p.trace()...), p.gradients...)
	}
	if t.options.Queries {
		outputs = append(outputs, p.queries())
	}
	return outputs
}

// encodeKeys encodes the key views in the given order and puts the keys back in the batch's.
func (t *Trainer) encodeKeys(views, order *Node, differentiated bool) *Node {
	b := views.Shape().Dimensions[0]
	k := t.forward(views.Graph(), keyEncoder, differentiated).embed(pick(views, order), t.options.Mean, t.options.Std)
	place := graph.OneHot(order, b, dtypes.Float32) // shuffled = place · views
	return graph.DotGeneral(place, []int{0}, nil, k, []int{0}, nil)
}

// infoNCE is equation 1 of the paper, averaged over the batch: cross-entropy of [positive | negative]/T against class 0.
// Similarities of unit vectors are at most 1, so 1/T takes the place of the row's maximum.
func infoNCE(positive, negative *Node, temperature float64) *Node {
	logits := graph.MulScalar(graph.Concatenate([]*Node{positive, negative}, 1), 1/temperature)
	shifted := graph.AddScalar(logits, -1/temperature)
	logSum := graph.AddScalar(graph.Log(graph.ReduceSum(graph.Exp(shifted), 1)), 1/temperature)
	own := graph.MulScalar(graph.Reshape(positive, positive.Shape().Dimensions[0]), 1/temperature)
	return graph.ReduceAllMean(graph.Sub(logSum, own))
}

// forward is a pass of one of the encoders in training.
func (t *Trainer) forward(g *graph.Graph, encoder string, differentiated bool) forward {
	return forward{
		options:  t.options.Encoder,
		layers:   t.layers(differentiated),
		lookup:   func(name string) *model.Variable { return t.variable(encoder + "/" + name) },
		groups:   t.options.groups(),
		momentum: graph.Const(g, float32(batchNormMomentum)),
	}
}

// layers returns the layout that the trainer's backend is fast in, in the precision asked for.
func (t *Trainer) layers(differentiated bool) nn.Layers {
	return layersFor(t.layout, t.options.Precision, differentiated)
}
