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
	reportMasked
	reportLag
	reportApart
	reportGradNorm
	reportLen
)

// report is what a step tells of itself, [reportLen]: its measures and the gradient norm, a scalar.
func report(measures, norm *Node) *Node {
	return graph.StopGradient(graph.Concatenate(append([]*Node{measures}, scalars(norm)...), 0))
}

// measure is the report without the gradient norm, which comes last; loss is a scalar.
func measure(loss *Node, c contrast) *Node {
	variances, covariance := secondMoments(graph.StopGradient(c.q))
	better := betterNegatives(c.positive, c.counted())
	negative, masked := c.meanNegative()
	orZero := func(x *Node) *Node {
		if x == nil {
			return graph.ScalarZero(loss.Graph(), dtypes.Float32)
		}
		return x
	}
	return graph.StopGradient(graph.Concatenate(scalars(
		loss,
		graph.ReduceAllMean(c.positive),
		negative,
		shareBelow(better, 1),
		shareBelow(better, 5),
		spread(variances),
		effectiveRank(variances, covariance),
		masked,
		orZero(c.lag),
		orZero(c.apart),
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

// noVariance is the sum of the variances of unit vectors below which rounding may be all of it.
const noVariance = 1e-5

// secondMoments are the variances [dim] and the covariance [dim, dim] over the rows of q [B, dim]. Sums of products less products
// of means lose nothing that counts in vectors of length 1, and let devices that share the batch exchange all they have
// summed up at once: centred vectors would wait for their mean first.
func secondMoments(q *Node) (variances, covariance *Node) {
	mean := graph.ReduceAndKeep(q, graph.ReduceMean, 0)
	products := graph.DotGeneral(q, []int{0}, nil, q, []int{0}, nil)
	covariance = graph.Sub(graph.MulScalar(products, 1/float64(q.Shape().Dimensions[0])), graph.DotGeneral(mean, []int{0}, nil, mean, []int{0}, nil))
	variances = graph.Sub(graph.ReduceMean(graph.Square(q), 0), graph.Square(graph.Squeeze(mean, 0)))
	return graph.MaxScalar(variances, 0), covariance
}

// spread is the mean over dimensions of the standard deviation over the batch, times sqrt(dim): 1 for embeddings
// spread over the sphere, 0 for collapsed ones.
func spread(variances *Node) *Node {
	return graph.MulScalar(graph.ReduceAllMean(graph.Sqrt(variances)), math.Sqrt(float64(variances.Shape().Dimensions[0])))
}

// effectiveRank is the participation ratio (tr C)^2 / tr(C^2) of the covariance C: n if embeddings vary alike in n
// directions and in no other, 0 if they do not vary. It needs no eigenvalues.
func effectiveRank(variances, covariance *Node) *Node {
	total, squares := graph.ReduceAllSum(variances), graph.ReduceAllSum(graph.Square(covariance))
	limit := graph.Scalar(total.Graph(), total.DType(), noVariance)
	varies := graph.GreaterThan(total, limit)
	return graph.Where(varies, graph.Div(graph.Square(total), graph.Where(varies, squares, limit)), graph.ZerosLike(total))
}

// scalars makes vectors of one element.
func scalars(nodes ...*Node) []*Node {
	for i, n := range nodes {
		nodes[i] = graph.Reshape(n, 1)
	}
	return nodes
}
