package drift

import (
	"fmt"
	"math"
	"slices"
)

// Reference is a set that others are compared with, and what of the comparison depends on it alone. It is not changed by
// use.
type Reference struct {
	set    *Set
	units  []int // the source of each row
	sizes  []int // rows of each source
	gamma  float64
	kernel [][]float64 // of two sources, the mean over pairs of their rows; 0 of a source and itself
}

// NewReference prepares a set of two sources or more. The kernel is Gaussian, exp(-d^2 / 2s^2), of the median distance s
// between rows of different sources (the median heuristic; Gretton et al., JMLR 13, 2012, section 8).
func NewReference(set *Set) (*Reference, error) {
	r := &Reference{set: set}
	r.units, r.sizes = set.units()
	if len(r.sizes) < 2 {
		return nil, fmt.Errorf("compare images with a reference: it holds %d sources of images, and needs 2", len(r.sizes))
	}
	r.gamma = gamma(r.distances())
	r.kernel = square(len(r.sizes))
	for i := range set.Rows() {
		for j := range i {
			r.add(r.kernel, i, j)
		}
	}
	return r, nil
}

// Sources is the number of sources of the reference.
func (r *Reference) Sources() int { return len(r.sizes) }

// add counts the pair of rows i and j into the kernel of their sources, which is the mean over such pairs.
func (r *Reference) add(kernel [][]float64, i, j int) {
	a, b := r.units[i], r.units[j]
	if a == b {
		return
	}
	k := r.similarity(r.set.row(i), r.set.row(j)) / float64(r.sizes[a]*r.sizes[b])
	kernel[a][b] += k
	kernel[b][a] += k
}

// similarity is the kernel of two rows.
func (r *Reference) similarity(a, b []float32) float64 { return math.Exp(-r.gamma * distance(a, b)) }

// distances are the squared distances between rows of different sources.
func (r *Reference) distances() []float64 {
	var all []float64
	for i := range r.set.Rows() {
		for j := range i {
			if r.units[i] != r.units[j] {
				all = append(all, distance(r.set.row(i), r.set.row(j)))
			}
		}
	}
	return all
}

// gamma is the kernel's coefficient for these squared distances. Where more than half of the images are the same there is
// no scale to go by, and it is that of rows of length 1 at a right angle.
func gamma(squared []float64) float64 {
	slices.Sort(squared)
	if median := squared[len(squared)/2]; median > 0 {
		return 1 / (2 * median)
	}
	return 1.0 / 4
}

// square is a matrix of zeros.
func square(n int) [][]float64 {
	all := make([]float64, n*n)
	rows := make([][]float64, n)
	for i := range rows {
		rows[i] = all[i*n : (i+1)*n]
	}
	return rows
}
