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
	reportTop5
	reportSpread
	reportRank
	reportGradNorm
	reportLen
)

// report is what a step tells of itself, [reportLen]: its measures and the gradient norm, a scalar.
func report(measures, norm *Node) *Node {
	return graph.StopGradient(graph.Concatenate(append([]*Node{measures}, scalars(norm)...), 0))
}

// measure is the report without the gradient norm, which comes last: loss is a scalar, q [B, dim] the queries'
// embeddings, positive [B, 1] and negative [B, K] their similarities.
func measure(loss, q, positive, negative *Node) *Node {
	q = graph.StopGradient(q)
	centred := graph.Sub(q, graph.ReduceAndKeep(q, graph.ReduceMean, 0))
	better := betterNegatives(positive, negative)
	return graph.StopGradient(graph.Concatenate(scalars(
		loss,
		graph.ReduceAllMean(positive),
		graph.ReduceAllMean(negative),
		shareBelow(better, 1),
		shareBelow(better, 5),
		spread(centred),
		effectiveRank(centred),
	), 0))
}

// betterNegatives counts, for each query, the negatives that are no less similar than its positive: [B].
func betterNegatives(positive, negative *Node) *Node {
	beaten := graph.GreaterOrEqual(negative, positive)
	return graph.ReduceSum(graph.ConvertDType(beaten, dtypes.Float32), 1)
}

// shareBelow is the share of elements of x that are less than limit.
func shareBelow(x *Node, limit float64) *Node {
	below := graph.LessThan(x, graph.Scalar(x.Graph(), x.DType(), limit))
	return graph.ReduceAllMean(graph.ConvertDType(below, dtypes.Float32))
}

// spread is the mean over dimensions of the standard deviation over the batch, times sqrt(dim): 1 for embeddings
// spread over the sphere, 0 for collapsed ones. centred are the embeddings [B, dim] less their mean.
func spread(centred *Node) *Node {
	deviation := graph.Sqrt(graph.ReduceMean(graph.Square(centred), 0))
	return graph.MulScalar(graph.ReduceAllMean(deviation), math.Sqrt(float64(centred.Shape().Dimensions[1])))
}

// effectiveRank is the participation ratio (tr C)^2 / tr(C^2) of the covariance C of centred embeddings [B, dim]: n if
// they vary alike in n directions and in no other, 0 if they do not vary. It needs no eigenvalues.
func effectiveRank(centred *Node) *Node {
	c := graph.DotGeneral(centred, []int{0}, nil, centred, []int{0}, nil) // B times the covariance: the factor cancels
	total, squares := graph.ReduceAllSum(graph.Square(centred)), graph.ReduceAllSum(graph.Square(c))
	one := graph.ScalarOne(c.Graph(), c.DType())
	varies := graph.GreaterThan(squares, graph.ScalarZero(c.Graph(), c.DType()))
	return graph.Div(graph.Square(total), graph.Where(varies, squares, one))
}

// scalars makes vectors of one element.
func scalars(nodes ...*Node) []*Node {
	for i, n := range nodes {
		nodes[i] = graph.Reshape(n, 1)
	}
	return nodes
}
