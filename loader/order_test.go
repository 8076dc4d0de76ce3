package loader

import (
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

func TestPermutationIsBijection(t *testing.T) {
	for _, n := range []int64{1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 1000, 1023, 65537, 250_000} {
		p := newPermutation(n, draws("test", 7, n))
		seen := make([]bool, n)
		for i := range n {
			to := p.at(i)
			if to < 0 || to >= n {
				t.Fatalf("n = %d: %d goes to %d", n, i, to)
			}
			if seen[to] {
				t.Fatalf("n = %d: %d is hit twice", n, to)
			}
			seen[to] = true
		}
	}
}

func TestPermutationOfManySamplesStaysInside(t *testing.T) {
	const n = math.MaxInt64
	p := newPermutation(n, draws("test", 7))
	for _, i := range []int64{0, 1, n / 2, n - 1} {
		if to := p.at(i); to < 0 || to >= n {
			t.Errorf("%d goes to %d", i, to)
		}
	}
}

func TestPermutationIsPure(t *testing.T) {
	order := func(purpose string, seed uint64, epoch int64) []int64 {
		p := newPermutation(100, draws(purpose, seed, epoch))
		all := make([]int64, 100)
		for i := range all {
			all[i] = p.at(int64(i))
		}
		return all
	}
	if !slices.Equal(order("files", 1, 2), order("files", 1, 2)) {
		t.Error("the same key gives two orders")
	}
	for _, other := range [][]int64{order("files", 1, 3), order("files", 2, 2), order("shards", 1, 2)} {
		if slices.Equal(order("files", 1, 2), other) {
			t.Error("another seed, epoch or purpose gives the same order")
		}
	}
}

// TestOrderIsForEver pins the order: a checkpoint of an older program must go on in the epoch it stopped in.
func TestOrderIsForEver(t *testing.T) {
	p := newPermutation(10, draws("files", 42, 1))
	var got []int64
	for i := range int64(10) {
		got = append(got, p.at(i))
	}
	if want := []int64{7, 0, 9, 8, 3, 1, 5, 4, 6, 2}; !slices.Equal(got, want) {
		t.Errorf("order is %v, was %v", got, want)
	}
}

// TestPermutationIsUniform checks over many epochs that each sample comes to each position, and after each other one,
// equally often.
func TestPermutationIsUniform(t *testing.T) {
	const epochs = 20_000
	for _, n := range []int64{2, 3, 5, 10, 17} {
		places := make([]float64, n*n)
		pairs := make([]float64, n*n)
		for epoch := range int64(epochs) {
			p := newPermutation(n, draws("files", 11, epoch))
			for i := range n {
				places[i*n+p.at(i)]++
				if i > 0 {
					pairs[p.at(i-1)*n+p.at(i)]++
				}
			}
		}
		checkUniform(t, "places", n, places, (n-1)*(n-1))
		var between []float64
		for i, count := range pairs {
			if int64(i)/n != int64(i)%n {
				between = append(between, count)
			}
		}
		checkUniform(t, "neighbours", n, between, max(1, n*(n-1)-1))
	}
}

// checkUniform fails when chi-square is as far out as once in a million. The keys are fixed: it never fails by chance.
func checkUniform(t *testing.T, what string, n int64, counts []float64, freedom int64) {
	t.Helper()
	var total, chi float64
	for _, c := range counts {
		total += c
	}
	mean := total / float64(len(counts))
	for _, c := range counts {
		chi += (c - mean) * (c - mean) / mean
	}
	if p := (distuv.ChiSquared{K: float64(freedom)}).Survival(chi); p < 1e-6 || p > 1-1e-6 {
		t.Errorf("%s of n = %d: chi-square is %.1f with %d degrees of freedom (p = %.2g)", what, n, chi, freedom, p)
	}
}

func BenchmarkPermutation(b *testing.B) {
	p := newPermutation(1_281_167, draws("bench", 1))
	for i := range b.N {
		p.at(int64(i) % 1_281_167)
	}
}
