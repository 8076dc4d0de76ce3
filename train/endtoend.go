package train

import (
	"mocostream/augment"
	"mocostream/internal/safetensors"

	"github.com/gomlx/gomlx/core/graph"
)

// endToEnd is figure 2a of the paper: both encoders have gradients, and a query's negatives are the keys of the other
// images of the batch, or of its part. Keys are shuffled between BatchNorm's groups as MoCo's are (section 3.3).
type endToEnd struct{ *Trainer }

func (endToEnd) encoders() []string { return []string{queryEncoder, keyEncoder} }

func (endToEnd) trained() []string { return []string{queryEncoder, keyEncoder} }

func (endToEnd) reset() error { return nil }

func (endToEnd) state() ([]safetensors.Tensor, error) { return nil, nil }

func (endToEnd) restore(map[string]safetensors.Tensor) error { return nil }

func (e endToEnd) arguments() []argument { return moco(e).arguments() }

func (e endToEnd) feed(b *augment.Batch) ([]any, error) { return moco(e).feed(b) }

func (endToEnd) prepare(*graph.Graph) {}

func (e endToEnd) compare(arguments []*Node) []contrast {
	return e.directions(arguments, e.contrast)
}

func (e endToEnd) contrast(query, key, order, tags *Node) contrast {
	q := e.forward(query.Graph(), queryEncoder, true).embed(query, e.options.Mean, e.options.Std)
	k := e.encodeKeys(key, order, true)
	all := similarity(q, k)
	c := contrast{
		q: q, k: k, positive: rowwise(q, k), negative: offDiagonal(all),
		logits: func() *Node { return graph.MulScalar(all, 1/e.options.T) },
	}
	if tags != nil {
		c.out = offDiagonal(e.options.masked(tags, tags))
	}
	return c
}

func (endToEnd) finish([]*Node, []contrast) {}

// offDiagonal is x [n, n] without its diagonal: [n, n-1], the rest of every row in its order. Without its first element
// x, read row by row, has the others of the diagonal at the end of each n+1.
func offDiagonal(x *Node) *Node {
	n := x.Shape().Dimensions[0]
	rest := graph.Slice(graph.Reshape(x, n*n), graph.AxisRangeToEnd(1))
	rest = graph.Slice(graph.Reshape(rest, n-1, n+1), graph.AxisRange(), graph.AxisRangeFromStart(n))
	return graph.Reshape(rest, n, n-1)
}
