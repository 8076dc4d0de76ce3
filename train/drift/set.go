// Package drift tells whether the images of a stream are still of the kind that they were: an unbiased kernel two-sample
// statistic between a reference and what came since, both embedded by one encoder, whose significance is found by
// permuting whole sources of images. It is arithmetic alone: who embeds what, and when, is its caller's.
package drift

import (
	"errors"
	"math"
)

// Set is features of images, grouped by the sources that they came from. Its zero value has none, of any length.
type Set struct {
	Dim     int
	X       []float32 // rows of Dim numbers, of length 1
	Sources []uint64  // of each row
}

// errNotFinite says that a feature is no number.
var errNotFinite = errors.New("a feature is not finite; the encoder has diverged")

// Rows is the number of images.
func (s *Set) Rows() int { return len(s.Sources) }

// Add appends an image of a source: a copy of its features, scaled to length 1, so that distances are those of cosine
// similarities, which k-NN judges by too. Features of zeros stay so.
func (s *Set) Add(source uint64, features []float32) error {
	sum := 0.0
	for _, v := range features {
		sum += float64(v) * float64(v)
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return errNotFinite
	}
	s.Dim = len(features)
	scale := 1 / max(math.Sqrt(sum), 1e-12)
	for _, v := range features {
		s.X = append(s.X, float32(float64(v)*scale))
	}
	s.Sources = append(s.Sources, source)
	return nil
}

func (s *Set) row(i int) []float32 { return s.X[i*s.Dim : (i+1)*s.Dim] }

// units numbers the sources in the order in which they first appear: the source of each row, and how many rows each has.
func (s *Set) units() (of []int, sizes []int) {
	at := map[uint64]int{}
	for _, source := range s.Sources {
		unit, seen := at[source]
		if !seen {
			unit = len(sizes)
			at[source] = unit
			sizes = append(sizes, 0)
		}
		of = append(of, unit)
		sizes[unit]++
	}
	return of, sizes
}

// distance is the squared Euclidean distance of two rows. The order of additions is fixed and nothing is fused, so every
// machine gets the same bits.
func distance(a, b []float32) float64 {
	var s0, s1, s2, s3 float32
	for len(a) >= 4 && len(b) >= 4 {
		d0, d1, d2, d3 := a[0]-b[0], a[1]-b[1], a[2]-b[2], a[3]-b[3]
		s0 += float32(d0 * d0)
		s1 += float32(d1 * d1)
		s2 += float32(d2 * d2)
		s3 += float32(d3 * d3)
		a, b = a[4:], b[4:]
	}
	for i := range min(len(a), len(b)) {
		d := a[i] - b[i]
		s0 += float32(d * d)
	}
	return float64((s0 + s1) + (s2 + s3))
}
