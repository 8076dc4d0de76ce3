package train

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
	"mocostream/train/nn"
)

// Names of the variables that are no encoder's.
const (
	queueName   = "queue"     // [K, dim] on the device, rows of length 1
	pointerName = "queue_ptr" // int32: the row that the next key goes to
)

// batchNormMomentum is torch's: running = 0.9 running + 0.1 batch.
const batchNormMomentum = 0.1

// buildStep is one optimisation step of MoCo as a graph (arXiv 1911.05722, algorithm 1; order of the reference
// implementation: the momentum update comes before the keys, the keys enter the queue after the logits). Inputs: query
// and key views [B, S, S, 3], the order [B] in which keys are encoded (shuffle-BN), hyper [3]. Output: the report.
func (t *Trainer) buildStep(root *model.Scope, query, key, order, hyper *Node) []*Node {
	o, g := t.options, query.Graph()
	momentum := graph.Const(g, float32(batchNormMomentum))
	q := t.forward(queryEncoder, true, momentum).embed(query, o.Mean, o.Std)

	t.moveKeyEncoder(g)
	k := t.encodeKeys(key, order, momentum)
	queue := t.variable(queueName).NodeValue(g)
	positive := graph.ReduceAndKeep(graph.Mul(q, k), graph.ReduceSum, 1)
	negative := graph.DotGeneral(q, []int{1}, nil, queue, []int{1}, nil)
	loss := infoNCE(positive, negative, o.T)
	t.enqueue(queue, k)

	gradients, norm := t.optimize(loss, hyper)
	outputs := []*Node{report(loss, norm, q, positive, negative)}
	if t.traced {
		logits := graph.MulScalar(graph.Concatenate([]*Node{positive, negative}, 1), 1/o.T)
		outputs = append(append(outputs, q, k, logits), gradients...)
	}
	return outputs
}

// moveKeyEncoder is the momentum update, equation 2 of the paper: parameters only, never BatchNorm's statistics.
func (t *Trainer) moveKeyEncoder(g *graph.Graph) {
	m := t.options.M
	for _, p := range t.parameters {
		if !p.Trainable() {
			continue
		}
		kv := t.variable(keyEncoder + "/" + p.Name)
		qn := graph.StopGradient(t.variable(queryEncoder + "/" + p.Name).NodeValue(g))
		kv.SetNodeValue(graph.Add(graph.MulScalar(kv.NodeValue(g), m), graph.MulScalar(qn, 1-m)))
	}
}

// encodeKeys encodes the key views in the given order and puts the keys back in the batch's.
func (t *Trainer) encodeKeys(views, order, momentum *Node) *Node {
	b := views.Shape().Dimensions[0]
	shuffled := graph.Gather(views, graph.Reshape(order, b, 1))
	k := t.forward(keyEncoder, false, momentum).embed(shuffled, t.options.Mean, t.options.Std)
	place := graph.OneHot(order, b, dtypes.Float32) // shuffled = place · views
	return graph.StopGradient(graph.DotGeneral(place, []int{0}, nil, graph.StopGradient(k), []int{0}, nil))
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

// enqueue replaces the oldest keys: key i of the batch goes to row (pointer + i) mod K.
func (t *Trainer) enqueue(queue, keys *Node) {
	g, b, k := queue.Graph(), keys.Shape().Dimensions[0], queue.Shape().Dimensions[0]
	pointer := t.variable(pointerName)
	at := pointer.NodeValue(g)
	t.variable(queueName).SetNodeValue(t.replaceRows(queue, keys, at))
	pointer.SetNodeValue(graph.Rem(graph.AddScalar(at, b), graph.Const(g, int32(k))))
}

// replaceRows writes keys [B, dim] into queue [K, dim] from row at on, around the end. XLA's dynamic update would clamp
// a window that passes the end, so it serves only where batches never do: not after a checkpoint of another batch.
func (t *Trainer) replaceRows(queue, keys, at *Node) *Node {
	g, b, k := queue.Graph(), keys.Shape().Dimensions[0], queue.Shape().Dimensions[0]
	if k%b == 0 && !t.ragged && t.backend.Capabilities().Operations[compute.OpTypeDynamicUpdateSlice] {
		return graph.DynamicUpdateSlice(queue, keys, []*Node{at, graph.Const(g, int32(0))})
	}
	row := graph.Iota(g, shapes.Make(dtypes.Int32, k, 1), 0)
	index := graph.Rem(graph.AddScalar(graph.Sub(row, at), k), graph.Const(g, int32(k)))
	fresh := graph.LessThan(index, graph.Const(g, int32(b)))
	picked := graph.Gather(keys, graph.Min(index, graph.Const(g, int32(b-1))))
	return graph.Where(graph.BroadcastToDims(fresh, queue.Shape().Dimensions...), picked, queue)
}

// forward is a pass of one of the two encoders in training.
func (t *Trainer) forward(encoder string, differentiated bool, momentum *Node) forward {
	return forward{
		options:  t.options.Encoder,
		layers:   t.layers(differentiated),
		lookup:   func(name string) *model.Variable { return t.variable(encoder + "/" + name) },
		groups:   t.options.Groups,
		momentum: momentum,
	}
}

// layers returns the layout that the trainer's backend is fast in, in the precision asked for.
func (t *Trainer) layers(differentiated bool) nn.Layers {
	return layersFor(t.layout, t.options.Precision, differentiated)
}
