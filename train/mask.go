package train

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// Mask says which keys are no negatives of a query, because they show much the same: on a stream of bursts a query would be
// pushed away from itself. It is decided inside the compiled step, by comparing the integers of tags.go.
type Mask string

// The masks; "" is MaskNone.
const (
	MaskNone      Mask = "none"      // every key is a negative
	MaskSample    Mask = "sample"    // but those of the query's own image, met before
	MaskSource    Mask = "source"    // but those of images of the same source (loader.Sample.Group)
	MaskDuplicate Mask = "duplicate" // but those whose images' hashes differ in at most Options.Duplicate bits
)

// masks says whether keys are compared with queries by whose they are.
func (o Options) masks() bool { return o.Mask != "" && o.Mask != MaskNone }

// tagged says whether the step is told whose images it sees. The bank's rows are of images as they are.
func (o Options) tagged() bool {
	return o.Mechanism != MemoryBank && (o.masks() || o.WarmMasked)
}

// validateMask names what the mechanism cannot mask.
func (o Options) validateMask() error {
	switch o.Mask {
	case "", MaskNone, MaskSample, MaskSource, MaskDuplicate:
	default:
		return fmt.Errorf("train: unknown mask %q; use %s, %s, %s or %s (train.queue.mask)", o.Mask, MaskNone, MaskSample, MaskSource, MaskDuplicate)
	}
	switch {
	case o.Mechanism == MemoryBank && o.masks() && o.Mask != MaskSample:
		return fmt.Errorf("train: %s knows of its entries only which image they are of; set train.queue.mask to %s or %s", MemoryBank, MaskSample, MaskNone)
	case o.Mechanism != MoCo && o.WarmMasked:
		return fmt.Errorf("train: %s has no queue that fills; set train.queue.warm to random", o.Mechanism)
	case o.Duplicate < 0 || o.Duplicate > 64:
		return fmt.Errorf("train: hashes of 64 bits cannot differ in %d; change train.queue.distance", o.Duplicate)
	}
	return nil
}

// masked compares the tags [b, 4] of queries with those of keys [n, 4] and returns, [b, n], which keys are no negatives of
// which query. It is nil where all are.
func (o Options) masked(queries, keys *Node) *Node {
	var out *Node
	switch o.Mask {
	case MaskSample:
		out = graph.Equal(column(queries, tagSample), row(keys, tagSample))
	case MaskSource:
		out = graph.Equal(column(queries, tagSource), row(keys, tagSource))
	case MaskDuplicate:
		bits := graph.BitCount(graph.BitwiseXor(column(queries, tagDuplicate), row(keys, tagDuplicate)))
		near := graph.LessOrEqual(bits, number(keys, int64(o.Duplicate)))
		out = graph.LogicalAnd(near, spreadRow(graph.LogicalNot(graph.LogicalOr(is(keys, noKey), is(keys, nobodys))), near))
	}
	if !o.WarmMasked {
		return out
	}
	empty := is(keys, noKey)
	if out == nil {
		return graph.BroadcastToDims(empty, queries.Shape().Dimensions[0], keys.Shape().Dimensions[0])
	}
	return graph.LogicalOr(out, spreadRow(empty, out))
}

// is says of which keys' samples [1, n] the tag is the given one.
func is(keys *Node, tag int64) *Node { return graph.Equal(row(keys, tagSample), number(keys, tag)) }

// spreadRow repeats a row [1, n] in the shape of like [b, n].
func spreadRow(x, like *Node) *Node { return graph.BroadcastToDims(x, like.Shape().Dimensions...) }

func number(of *Node, x int64) *Node { return graph.Const(of.Graph(), x) }

// column is column i of x [n, columns], as [n, 1].
func column(x *Node, i int) *Node {
	return graph.Slice(x, graph.AxisRange(), graph.AxisRange(i, i+1))
}

// row is column i of x [n, columns], as [1, n].
func row(x *Node, i int) *Node { return graph.Reshape(column(x, i), 1, x.Shape().Dimensions[0]) }

// counted are the similarities of the negatives that count, and minus infinity for the others.
func (c contrast) counted() *Node {
	if c.out == nil {
		return c.negative
	}
	never := graph.Const(c.negative.Graph(), c.negative.DType().LowestValue())
	return graph.Where(c.out, never, c.negative)
}

// meanNegative is the mean similarity of queries and the negatives that count, 0 without any, and share the share of
// the others; both scalars.
func (c contrast) meanNegative() (mean, share *Node) {
	if c.out == nil {
		return graph.ReduceAllMean(c.negative), graph.ScalarZero(c.negative.Graph(), dtypes.Float32)
	}
	share = graph.ReduceAllMean(graph.ConvertDType(c.out, dtypes.Float32))
	sum := graph.ReduceAllMean(graph.Where(c.out, graph.ZerosLike(c.negative), c.negative))
	none := graph.Equal(share, graph.ScalarOne(share.Graph(), share.DType()))
	return graph.Div(sum, graph.Where(none, graph.OnesLike(share), graph.OneMinus(share))), share
}
