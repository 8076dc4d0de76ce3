package knn

import (
	"fmt"
	"math"
)

// Features is a matrix of rows, one an image.
type Features struct {
	Dim    int
	X      []float32 // [rows, Dim], row-major
	Labels []int32   // [rows], from 0; needed to classify, not to find neighbours
}

// Rows returns the number of images.
func (f Features) Rows() int {
	if f.Dim <= 0 {
		return 0
	}
	return len(f.X) / f.Dim
}

func (f Features) row(i int) []float32 { return f.X[i*f.Dim : (i+1)*f.Dim] }

func checkShape(name string, f Features) error {
	if f.Dim <= 0 {
		return fmt.Errorf("check %s features: dimension is %d; it must be positive", name, f.Dim)
	}
	if len(f.X) == 0 {
		return fmt.Errorf("check %s features: there are none", name)
	}
	if len(f.X)%f.Dim != 0 {
		return fmt.Errorf("check %s features: %d values are no whole number of rows of %d", name, len(f.X), f.Dim)
	}
	return nil
}

func checkLabels(name string, f Features) error {
	if err := checkShape(name, f); err != nil {
		return err
	}
	if len(f.Labels) != f.Rows() {
		return fmt.Errorf("check %s features: %d labels for %d rows", name, len(f.Labels), f.Rows())
	}
	for i, l := range f.Labels {
		if l < 0 {
			return fmt.Errorf("check %s features: row %d has no label (%d); k-NN needs a labelled set", name, i, l)
		}
	}
	return nil
}

// normalized returns a copy with every row scaled to length 1; a row of zeros stays one.
func normalized(name string, f Features) (Features, error) {
	if err := checkShape(name, f); err != nil {
		return Features{}, err
	}
	out := Features{Dim: f.Dim, X: make([]float32, len(f.X)), Labels: f.Labels}
	for i := range f.Rows() {
		if err := normalize(out.row(i), f.row(i)); err != nil {
			return Features{}, fmt.Errorf("check %s features: row %d %w", name, i, err)
		}
	}
	return out, nil
}

func normalize(dst, src []float32) error {
	var sum float64
	for _, v := range src {
		sum += float64(v) * float64(v)
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) { // squares of finite float32 cannot overflow a float64
		return fmt.Errorf("has a value that is not finite; the encoder has diverged")
	}
	scale := 1 / max(math.Sqrt(sum), 1e-12)
	for i, v := range src {
		dst[i] = float32(float64(v) * scale)
	}
	return nil
}

// dot is the inner product of two slices of the same length. The order of additions is fixed, and the conversions keep the
// compiler from fusing them, so every machine gets the same bits.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= 8 && len(b) >= 8 {
		s0 += float32(a[0] * b[0])
		s1 += float32(a[1] * b[1])
		s2 += float32(a[2] * b[2])
		s3 += float32(a[3] * b[3])
		s4 += float32(a[4] * b[4])
		s5 += float32(a[5] * b[5])
		s6 += float32(a[6] * b[6])
		s7 += float32(a[7] * b[7])
		a, b = a[8:], b[8:]
	}
	for i := range min(len(a), len(b)) {
		s0 += float32(a[i] * b[i])
	}
	return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
}
