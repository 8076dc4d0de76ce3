package nn

import "github.com/gomlx/gomlx/core/graph"

// convGrouped is a convolution in groups of channels: one product a group, of weights [out/groups, in/groups*k*k] and
// the group's columns.
func (l CHWN) convGrouped(x, weight *Node, stride, groups int) *Node {
	d, wd := x.Shape().Dimensions, weight.Shape().Dimensions
	h, w := outputs(d[1], wd[2], stride), outputs(d[2], wd[2], stride)
	columns := byGroup(unfold(x, wd[2], stride), groups)
	y := graph.Reshape(groupProduct(byGroup(weight, groups), columns), wd[0], h, w, d[3])
	return l.withGradient(y, func(v *Node) []*Node {
		dw := graph.DotGeneral(byGroup(v, groups), []int{2}, []int{0}, columns, []int{2}, []int{0})
		spreadOut := v
		if stride > 1 {
			spreadOut = spread(v, 0, 0, d[1], d[2], stride)
		}
		dx := groupProduct(byGroup(backward(weight, groups), groups), byGroup(unfold(spreadOut, wd[2], 1), groups))
		return []*Node{graph.Reshape(dx, d...), graph.Reshape(dw, wd...)}
	}, x, weight)
}

// byGroup is x as groups of matrices [groups, first axis/groups, the rest], or of columns [groups, rows/groups, columns].
func byGroup(x *Node, groups int) *Node {
	d := x.Shape().Dimensions
	return graph.Reshape(x, groups, d[0]/groups, x.Shape().Size()/d[0])
}

// groupProduct is a·b group by group.
func groupProduct(a, b *Node) *Node {
	return graph.DotGeneral(a, []int{2}, []int{0}, b, []int{1}, []int{0})
}
