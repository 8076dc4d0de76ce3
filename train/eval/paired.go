package eval

import (
	"fmt"
	"math"

	"mocostream/train/knn"
)

// Correct says of each query of a k-NN evaluation whether its first guess was right, in the order of the queries.
func Correct(f knn.Features, r knn.Result) []bool {
	right := make([]bool, len(r.Predictions))
	for i, guess := range r.Predictions {
		right[i] = guess == f.Labels[i]
	}
	return right
}

// Worse is McNemar's exact test, one-sided: the probability that at least as many queries as were lost between before
// and now would be lost, against those won, if both encoders were equally good. The two are of the same queries in the
// same order; queries that both or neither got right say nothing.
func Worse(before, now []bool) (p float64, err error) {
	if len(before) != len(now) {
		return 0, fmt.Errorf("compare answers: %d queries before, %d now; ask both the same", len(before), len(now))
	}
	lost, won := 0, 0
	for i := range before {
		switch {
		case before[i] && !now[i]:
			lost++
		case now[i] && !before[i]:
			won++
		}
	}
	return atLeast(lost, lost+won), nil
}

// atLeast is the probability of k or more heads in n throws of a fair coin.
func atLeast(k, n int) float64 {
	sum := 0.0
	for i := k; i <= n; i++ {
		sum += math.Exp(logBinomial(n, i) - float64(n)*math.Ln2)
	}
	return min(sum, 1)
}

func logBinomial(n, k int) float64 {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return lg(n) - lg(k) - lg(n-k)
}
