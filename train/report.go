package train

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// Indices of the step's report, one float32 vector.
const (
	reportLoss = iota
	reportPositive
	reportNegative
	reportTop1
	reportSpread
	reportGradNorm
	reportLen
)

// report is what a step tells of itself, [reportLen]: loss and gradient norm are scalars, q [B, dim] the queries' embeddings,
// positive [B, 1] and negative [B, K] their similarities.
func report(loss, norm, q, positive, negative *Node) *Node {
	return graph.StopGradient(graph.Concatenate(scalars(
		loss,
		graph.ReduceAllMean(positive),
		graph.ReduceAllMean(negative),
		top1(positive, negative),
		spread(q),
		norm,
	), 0))
}

// top1 is the share of rows whose positive beats every negative.
func top1(positive, negative *Node) *Node {
	best := graph.ReduceAndKeep(negative, graph.ReduceMax, 1)
	return graph.ReduceAllMean(graph.ConvertDType(graph.GreaterThan(positive, best), dtypes.Float32))
}

// spread is the mean over dimensions of the standard deviation over the batch, times sqrt(dim): 1 for embeddings
// spread over the sphere, 0 for collapsed ones.
func spread(q *Node) *Node {
	centred := graph.Sub(q, graph.ReduceAndKeep(q, graph.ReduceMean, 0))
	deviation := graph.Sqrt(graph.ReduceMean(graph.Square(centred), 0))
	return graph.MulScalar(graph.ReduceAllMean(deviation), math.Sqrt(float64(q.Shape().Dimensions[1])))
}

// scalars makes vectors of one element.
func scalars(nodes ...*Node) []*Node {
	for i, n := range nodes {
		nodes[i] = graph.Reshape(n, 1)
	}
	return nodes
}
