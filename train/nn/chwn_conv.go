package nn

import (
	"github.com/gomlx/gomlx/core/graph"
)

// outputs is the length of an axis after a convolution or pooling with k taps and padding (k-1)/2.
func outputs(n, k, stride int) int { return (n-1)/stride + 1 }

// Conv implements Layers: weights [O, C*k*k] times columns [C*k*k, H'*W'*B].
func (l CHWN) Conv(x, weight *Node, stride, groups int) *Node {
	switch k := weight.Shape().Dimensions[2]; {
	case groups > 1:
		return l.convGrouped(x, weight, stride, groups)
	case k == 1:
		return l.pointwise(x, weight, stride)
	case k == 3 && stride == 1 && onGrid(x):
		return l.convGrid(x, weight)
	default:
		return l.convColumns(x, weight, stride)
	}
}

// pointwise is a 1x1 convolution: one product, of every stride-th pixel.
func (l CHWN) pointwise(x, weight *Node, stride int) *Node {
	d := x.Shape().Dimensions
	o, h, w := weight.Shape().Dimensions[0], outputs(d[1], 1, stride), outputs(d[2], 1, stride)
	picked := x
	if stride > 1 {
		picked = slice(x, window{0, h, stride}, window{0, w, stride})
	}
	y := graph.Reshape(product(rows(weight), rows(picked)), o, h, w, d[3])
	return l.withGradient(y, func(v *Node) []*Node {
		dw := graph.Reshape(productTransposed(rows(v), rows(picked)), weight.Shape().Dimensions...)
		dx := graph.Reshape(transposedProduct(rows(weight), rows(v)), d[0], h, w, d[3])
		if stride > 1 {
			dx = spread(dx, 0, 0, d[1], d[2], stride)
		}
		return []*Node{dx, dw}
	}, x, weight)
}

// convColumns unfolds x into columns by slices of the padded image.
func (l CHWN) convColumns(x, weight *Node, stride int) *Node {
	d, wd := x.Shape().Dimensions, weight.Shape().Dimensions
	columns := unfold(x, wd[2], stride)
	y := graph.Reshape(product(rows(weight), columns), wd[0], outputs(d[1], wd[2], stride), outputs(d[2], wd[2], stride), d[3])
	return l.withGradient(y, func(v *Node) []*Node {
		if stride > 1 {
			dw := graph.Reshape(productTransposed(rows(v), columns), wd...)
			return []*Node{stridedInputGradient(v, weight, d), dw}
		}
		unfolded := unfold(v, wd[2], 1)
		return []*Node{graph.Reshape(product(flipped(weight), unfolded), d...), weightGradient(x, unfolded, wd)}
	}, x, weight)
}

// unfold returns the columns [C*k*k, H'*W'*B] of x [C, H, W, B]: for each channel its k*k shifted images.
func unfold(x *Node, k, stride int) *Node {
	d := x.Shape().Dimensions
	p := (k - 1) / 2
	h, w := outputs(d[1], k, stride), outputs(d[2], k, stride)
	padded := pad(x, p, p, p, p)
	var taps []*Node
	for i := range k {
		for j := range k {
			taps = append(taps, slice(padded, window{i, h, stride}, window{j, w, stride}))
		}
	}
	return stack(taps)
}

// stack joins T images [C, H, W, B] to columns [C*T, H*W*B].
func stack(taps []*Node) *Node {
	d := taps[0].Shape().Dimensions
	parts := make([]*Node, len(taps))
	for i, tap := range taps {
		parts[i] = graph.Reshape(tap, d[0], 1, d[1]*d[2]*d[3])
	}
	return graph.Reshape(graph.Concatenate(parts, 1), d[0]*len(taps), d[1]*d[2]*d[3])
}

// flipped returns the weights of the convolution that carries gradients back: [C, O*k*k], taps reversed.
func flipped(weight *Node) *Node {
	return rows(graph.TransposeAllAxes(graph.Reverse(weight, 2, 3), 1, 0, 2, 3))
}

// weightGradient is the gradient of a stride-1 convolution with respect to its weights [O, C, k, k], from the input and
// the unfolded gradient of the output, which the input's gradient needs too: the forward pass's columns, many times the
// size of the input, need not be kept.
func weightGradient(x, unfolded *Node, dims []int) *Node {
	reversed := graph.Reshape(productTransposed(rows(x), unfolded), dims[1], dims[0], dims[2], dims[3])
	return graph.Reverse(graph.TransposeAllAxes(reversed, 1, 0, 2, 3), 2, 3)
}

// stridedInputGradient is the gradient of a stride-2 convolution with respect to its input [C, H, W, B]. Pixels of equal
// parity see the same taps, so each of the four parities is one product, and no product runs over stuffed zeros.
func stridedInputGradient(v, weight *Node, dims []int) *Node {
	h, w := (dims[1]+1)/2, (dims[2]+1)/2
	var bands []*Node
	for ph := range 2 {
		var parts []*Node
		for pw := range 2 {
			part := parityGradient(v, weight, parity{ph, h}, parity{pw, w})
			parts = append(parts, graph.Reshape(part, dims[0], h, 1, w, 1, dims[3]))
		}
		bands = append(bands, graph.Reshape(graph.Concatenate(parts, 4), dims[0], h, 1, 2*w, dims[3]))
	}
	dx := graph.Reshape(graph.Concatenate(bands, 2), dims[0], 2*h, 2*w, dims[3])
	if dims[1]%2 == 0 && dims[2]%2 == 0 {
		return dx
	}
	return slice(dx, window{0, dims[1], 1}, window{0, dims[2], 1})
}

// parity is every second position of an axis, from phase, count of them.
type parity struct{ phase, count int }

// taps lists which taps of k reach these positions, and by how many output positions each is displaced.
func (p parity) taps(k int) (tap, shift []int) {
	for i := range k {
		if d := p.phase + (k-1)/2 - i; d%2 == 0 {
			tap, shift = append(tap, i), append(shift, d/2)
		}
	}
	return tap, shift
}

// parityGradient returns [C, h.count, w.count, B].
func parityGradient(v, weight *Node, h, w parity) *Node {
	d, wd := v.Shape().Dimensions, weight.Shape().Dimensions
	hTaps, hShifts := h.taps(wd[2])
	wTaps, wShifts := w.taps(wd[3])
	reach := wd[2]/4 + 1 // no tap is displaced further
	padded := pad(v, reach, reach+h.count-d[1], reach, reach+w.count-d[2])
	var weights, images []*Node
	for a, i := range hTaps {
		for b, j := range wTaps {
			weights = append(weights, graph.Slice(weight, graph.AxisRange(), graph.AxisRange(), graph.AxisElem(i), graph.AxisElem(j)))
			images = append(images, slice(padded, window{reach + hShifts[a], h.count, 1}, window{reach + wShifts[b], w.count, 1}))
		}
	}
	kernel := graph.TransposeAllAxes(graph.Reshape(graph.Concatenate(weights, 2), wd[0], wd[1], len(weights)), 1, 0, 2)
	return graph.Reshape(product(rows(kernel), stack(images)), wd[1], h.count, w.count, d[3])
}
