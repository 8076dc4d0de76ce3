package eval

import (
	"math"

	"mocostream/train/knn"
)

// scale standardises features: mean 0 and standard deviation 1 in every dimension of the features it was made from. A
// dimension that does not vary there is left out: it becomes 0 everywhere.
type scale struct {
	mean, inverse []float64 // [dim]; inverse of the standard deviation
}

func newScale(f knn.Features) scale {
	s := scale{mean: make([]float64, f.Dim), inverse: make([]float64, f.Dim)}
	n := float64(f.Rows())
	for i, v := range f.X {
		s.mean[i%f.Dim] += float64(v) / n
	}
	variance := make([]float64, f.Dim)
	for i, v := range f.X {
		d := float64(v) - s.mean[i%f.Dim]
		variance[i%f.Dim] += d * d / n
	}
	for d, v := range variance {
		// What is left of a constant is rounding.
		if deviation := math.Sqrt(v); deviation > 1e-6*math.Abs(s.mean[d]) && deviation > 0 {
			s.inverse[d] = 1 / deviation
		}
	}
	return s
}

// apply returns standardised copies.
func (s scale) apply(f knn.Features) knn.Features {
	out := knn.Features{Dim: f.Dim, X: make([]float32, len(f.X)), Labels: f.Labels}
	for i, v := range f.X {
		d := i % f.Dim
		out.X[i] = float32((float64(v) - s.mean[d]) * s.inverse[d])
	}
	return out
}

// fold changes weight [classes, dim] and bias [classes] of a classifier of standardised features into those of one that
// says the same of features as they are.
func (s scale) fold(weight, bias []float32) {
	dim := len(s.mean)
	for class := range bias {
		shift := 0.0
		for d, w := range weight[class*dim : (class+1)*dim] {
			scaled := float64(w) * s.inverse[d]
			shift += scaled * s.mean[d]
			weight[class*dim+d] = float32(scaled)
		}
		bias[class] = float32(float64(bias[class]) - shift)
	}
}
