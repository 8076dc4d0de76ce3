package report

import (
	"math"
	"slices"
)

// curvePoints bounds the points of one drawn line, and with it the size of the page.
const curvePoints = 400

// point is a value at a step.
type point struct{ x, y float64 }

// drawable tells whether v can be placed on an axis. Larger magnitudes would overflow the axis' arithmetic.
func drawable(v float64) bool { return math.Abs(v) < 1e30 }

// finite returns the points of ps that can be drawn.
func finite(ps []point) []point {
	return slices.DeleteFunc(slices.Clone(ps), func(p point) bool { return !drawable(p.y) || !drawable(p.x) })
}

// envelope thins ps to at most n points and keeps its outline: of every stretch the lowest and the highest point, in
// their order.
func envelope(ps []point, n int) []point {
	if len(ps) <= n {
		return ps
	}
	stretches := n / 2
	out := make([]point, 0, n)
	for i := range stretches {
		part := ps[i*len(ps)/stretches : (i+1)*len(ps)/stretches]
		lo, hi := 0, 0
		for j, p := range part {
			if p.y < part[lo].y {
				lo = j
			}
			if p.y > part[hi].y {
				hi = j
			}
		}
		out = append(out, part[min(lo, hi)], part[max(lo, hi)])
	}
	return out
}

// smooth returns at most n points of a centred moving mean over about a twenty-fifth of ps. The window narrows to half
// of that towards both ends, so that the line neither lags nor flattens what happens there.
func smooth(ps []point, n int) []point {
	half := max(1, len(ps)/50)
	sums := make([]float64, len(ps)+1)
	for i, p := range ps {
		sums[i+1] = sums[i] + p.y
	}
	count := min(n, len(ps))
	out := make([]point, count)
	for j := range out {
		i := 0
		if count > 1 {
			i = j * (len(ps) - 1) / (count - 1)
		}
		h := max(min(half, i, len(ps)-1-i), half/2)
		from, to := max(0, i-h), min(len(ps), i+h+1)
		out[j] = point{ps[i].x, (sums[to] - sums[from]) / float64(to-from)}
	}
	return out
}

// extent returns the range of ps' values, without what sticks out so far that the rest would be a flat line.
func extent(ps []point) (lo, hi float64) {
	ys := make([]float64, len(ps))
	for i, p := range ps {
		ys[i] = p.y
	}
	slices.Sort(ys)
	lo, hi = ys[0], ys[len(ys)-1]
	low, high := ys[len(ys)/100], ys[len(ys)-1-len(ys)/100]
	reach := 2 * (high - low)
	if reach <= 0 {
		return lo, hi
	}
	return max(lo, low-reach), min(hi, high+reach)
}

// ticks returns about n round values whose first is at or below lo and whose last is at or above hi.
func ticks(lo, hi float64, n int) (values []float64, step float64) {
	if hi-lo <= 1e-9*max(math.Abs(lo), math.Abs(hi)) {
		pad := math.Abs(hi) / 10
		if pad == 0 {
			pad = 1
		}
		lo, hi = lo-pad, hi+pad
	}
	step = niceStep((hi - lo) / float64(n))
	first, last := math.Floor(lo/step+1e-9), math.Ceil(hi/step-1e-9)
	for i := first; i <= last; i++ {
		values = append(values, i*step)
	}
	return values, step
}

// niceStep returns the smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is at least x.
func niceStep(x float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*power >= x*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}
