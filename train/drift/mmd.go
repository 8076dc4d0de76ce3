package drift

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Result compares a set with a reference.
type Result struct {
	// MMD2 is the unbiased estimate of the squared maximum mean discrepancy (Gretton et al., JMLR 13, 2012, lemma 6): 0 on
	// average where both are of one distribution, and below 0 then as often as above.
	MMD2 float64
	// PValue is the share of exchanges of whole sources, this one among them, that give as large an estimate: the chance of
	// one where nothing changed.
	PValue float64
	// Sources is how many the set had.
	Sources int
}

// Compare compares a set of two sources or more with the reference.
//
// A source counts once, however many images it sent: the kernel of two sources is the mean over the pairs of their images,
// and estimate and permutations are of sources. Frames of one burst resemble each other whatever the stream does; exchanged
// one by one they would make every new burst a change. Under that nothing changed, and sources come independently, the
// p-value is at most a with probability a at most, for every a.
//
// rng draws the permutations.
func (r *Reference) Compare(set *Set, permutations int, rng *rand.Rand) (Result, error) {
	if set.Rows() > 0 && set.Dim != r.set.Dim {
		return Result{}, fmt.Errorf("compare images with a reference: features of %d numbers, of the reference %d", set.Dim, r.set.Dim)
	}
	units, sizes := set.units()
	if len(sizes) < 2 {
		return Result{}, fmt.Errorf("compare images with a reference: they are of %d sources, and need 2", len(sizes))
	}
	p := newPooled(r.joined(set, units, sizes), len(r.sizes))
	result := Result{MMD2: p.estimate(p.own()), Sources: len(sizes)}
	// Sums in another order differ in their last digits: what is as large must not count as smaller for that.
	limit, beaten := result.MMD2-1e-12, 1
	for range permutations {
		if p.estimate(p.shuffled(rng)) >= limit {
			beaten++
		}
	}
	result.PValue = float64(beaten) / float64(permutations+1)
	return result, nil
}

// joined is the kernel of the reference's sources followed by those of the set.
func (r *Reference) joined(set *Set, units, sizes []int) [][]float64 {
	m := len(r.sizes)
	k := square(m + len(sizes))
	for i, row := range r.kernel {
		copy(k[i], row)
	}
	count := func(a, b int, similarity float64) {
		k[a][b] += similarity
		k[b][a] += similarity
	}
	for i := range set.Rows() {
		x, own := set.row(i), float64(sizes[units[i]])
		for j := range i {
			if units[i] != units[j] {
				count(m+units[i], m+units[j], r.similarity(x, set.row(j))/(own*float64(sizes[units[j]])))
			}
		}
		for j := range r.set.Rows() {
			count(m+units[i], r.units[j], r.similarity(x, r.set.row(j))/(own*float64(r.sizes[r.units[j]])))
		}
	}
	return k
}

// pooled is the kernel of all sources together, and a choice of those that stand for the set.
type pooled struct {
	kernel [][]float64
	rows   []float64 // sums of the kernel's rows
	total  float64
	chosen []int // all sources in some order; the last ones stand for the set
	m      int   // the others
}

func newPooled(kernel [][]float64, m int) *pooled {
	p := &pooled{kernel: kernel, m: m, rows: make([]float64, len(kernel)), chosen: make([]int, len(kernel))}
	for i, row := range kernel {
		p.chosen[i] = i
		for _, k := range row {
			p.rows[i] += k
		}
		p.total += p.rows[i]
	}
	return p
}

// own is the choice as it is.
func (p *pooled) own() []int { return p.chosen[p.m:] }

// shuffled is a choice at random.
func (p *pooled) shuffled(rng *rand.Rand) []int {
	for i := len(p.chosen) - 1; i >= p.m; i-- {
		j := rng.IntN(i + 1)
		p.chosen[i], p.chosen[j] = p.chosen[j], p.chosen[i]
	}
	return p.chosen[p.m:]
}

// estimate is MMD2 between those that are chosen and the rest. It sums over the pairs of the chosen alone: the other sums
// follow from it and from the rows'.
func (p *pooled) estimate(chosen []int) float64 {
	var within, rows float64
	for i, a := range chosen {
		row := p.kernel[a]
		rows += p.rows[a]
		for _, b := range chosen[:i] {
			within += row[b]
		}
	}
	within *= 2
	m, n := float64(p.m), float64(len(chosen))
	across := rows - within
	others := p.total - 2*across - within
	return within/(n*(n-1)) + others/(m*(m-1)) - 2*across/(m*n)
}

// Enough tells whether a comparison of so many sources can be significant at level alpha at all: whether there are so many
// ways to choose n of m + n.
func Enough(m, n int, alpha float64) bool {
	if m < 2 || n < 2 {
		return false
	}
	ways, _ := math.Lgamma(float64(m + n + 1))
	for _, part := range []int{m, n} {
		less, _ := math.Lgamma(float64(part + 1))
		ways -= less
	}
	return ways >= math.Log(1/alpha)
}
