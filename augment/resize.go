package augment

import (
	"image"
	"math"

	"mocostream/augment/rgb"
)

// resizer resizes with Pillow's antialiased bilinear filter, bit for bit: a triangle filter as wide as the reduction,
// weights of 22 fractional bits, first along rows, then along columns, rounding to bytes between the two.
type resizer struct {
	columns, rows taps
	between       []byte  // after the horizontal pass: the rows needed x output width x 3
	sums          []int32 // of one output row
}

// weightBits are the fractional bits of a weight (Pillow's PRECISION_BITS).
const weightBits = 32 - 8 - 2

// taps are the weights of one direction: output i is the sum over k < count[i] of weight[i*stride+k] * input[first[i]+k].
type taps struct {
	first, count []int
	weight       []int32
	stride       int
	exact        []float64
}

// resize crops box out of src, resizes the crop to full and writes the window of that to dst, window.Dx() x window.Dy() x 3
// bytes. Only what the window shows is computed.
func (r *resizer) resize(dst []byte, src *rgb.Image, box image.Rectangle, full image.Point, window image.Rectangle) {
	r.columns.compute(box.Dx(), full.X, window.Min.X, window.Max.X)
	r.rows.compute(box.Dy(), full.Y, window.Min.Y, window.Max.Y)
	last := window.Dy() - 1
	top, bottom := r.rows.first[0], r.rows.first[last]+r.rows.count[last]
	width := window.Dx() * 3
	r.between = grow(r.between, (bottom-top)*width)
	for y := top; y < bottom; y++ {
		row := src.Row(box.Min.Y + y)[box.Min.X*3 : box.Max.X*3]
		r.columns.alongRow(r.between[(y-top)*width:][:width], row)
	}
	for y := range window.Dy() {
		from := r.between[(r.rows.first[y]-top)*width:]
		r.alongColumns(dst[y*width:][:width], from, r.rows.weights(y))
	}
}

// compute fills the taps of outputs lo to hi of a line of n pixels resized to size.
func (t *taps) compute(n, size, lo, hi int) {
	scale := float64(n) / float64(size)
	filterScale := max(scale, 1)
	t.stride = int(math.Ceil(filterScale))*2 + 1
	count := hi - lo
	t.first, t.count = grow(t.first, count), grow(t.count, count)
	t.weight, t.exact = grow(t.weight, count*t.stride), grow(t.exact, t.stride)
	for i := range count {
		center := float64((float64(lo+i) + 0.5) * scale) // rounded here: not to be fused with what follows
		first := max(int(center-filterScale+0.5), 0)
		end := min(int(center+filterScale+0.5), n)
		t.first[i], t.count[i] = first, end-first
		t.triangle(t.weight[i*t.stride:][:end-first], float64(first)-center+0.5, 1/filterScale)
	}
}

// triangle fills the weights of one output: the filter at from, from+1, ... in units of 1/scale, normalised to 1.
func (t *taps) triangle(weight []int32, from, scale float64) {
	sum := 0.0
	for k := range weight {
		w := max(1-float64(math.Abs((float64(k)+from)*scale)), 0)
		t.exact[k] = w
		sum += w
	}
	for k := range weight {
		weight[k] = int32(0.5 + float64(t.exact[k]/sum*(1<<weightBits)))
	}
}

func (t *taps) weights(i int) []int32 { return t.weight[i*t.stride:][:t.count[i]] }

func (t *taps) alongRow(dst, src []byte) {
	for i, first := range t.first {
		pixel := src[first*3:]
		red, green, blue := int32(1<<(weightBits-1)), int32(1<<(weightBits-1)), int32(1<<(weightBits-1))
		for k, w := range t.weights(i) {
			p := pixel[3*k : 3*k+3 : 3*k+3]
			red += int32(p[0]) * w
			green += int32(p[1]) * w
			blue += int32(p[2]) * w
		}
		d := dst[3*i : 3*i+3 : 3*i+3]
		d[0], d[1], d[2] = clipWeighted(red), clipWeighted(green), clipWeighted(blue)
	}
}

// alongColumns makes one output row out of consecutive rows of src, as long as dst.
func (r *resizer) alongColumns(dst, src []byte, weights []int32) {
	r.sums = grow(r.sums, len(dst))
	sums := r.sums
	for x := range sums {
		sums[x] = 1 << (weightBits - 1)
	}
	for k, w := range weights {
		row := src[k*len(dst):][:len(sums)]
		for x := range sums {
			sums[x] += int32(row[x]) * w
		}
	}
	for x, sum := range sums {
		dst[x] = clipWeighted(sum)
	}
}

func clipWeighted(v int32) byte { return byte(min(max(v>>weightBits, 0), 255)) }

// grow returns s with length n and undefined content, in the memory it has where that is enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
