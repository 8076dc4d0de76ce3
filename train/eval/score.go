package eval

import (
	"fmt"
	"math"
	"slices"

	"mocostream/train"
	"mocostream/train/knn"
)

// Share is a share of answers that were right.
type Share struct{ Right, Of int }

// Value is the share, 0 to 1; of no answers it is 0.
func (s Share) Value() float64 {
	if s.Of == 0 {
		return 0
	}
	return float64(s.Right) / float64(s.Of)
}

// normal95 is the normal distribution's 97.5 % quantile.
const normal95 = 1.959963984540054

// Interval is Wilson's score interval at 95 % (J. Am. Stat. Assoc. 22, 1927): what share an endless set of such images
// may have. It knows of the test images' number alone, and not of what another training would have brought.
func (s Share) Interval() (low, high float64) {
	if s.Of == 0 {
		return 0, 1
	}
	n, p := float64(s.Of), s.Value()
	z := normal95 * normal95 / n
	centre := (p + z/2) / (1 + z)
	half := normal95 / (1 + z) * math.Sqrt(p*(1-p)/n+z/(4*n))
	return max(centre-half, 0), min(centre+half, 1)
}

// tally counts what one classifier of several got right.
type tally struct {
	Top1, Top5 Share
	Classes    []Share // top-1 of each class
	Loss       float64 // mean cross-entropy
}

// tallies asks every classifier, classes of them in a row of logits, about all rows.
func tallies(c *train.Classifier, f knn.Features, classes int) ([]tally, error) {
	var all []tally
	const part = 1024 // rows: logits of many classifiers are large
	for from := 0; from < f.Rows(); from += part {
		to := min(from+part, f.Rows())
		logits, err := c.Logits(f.X[from*f.Dim : to*f.Dim])
		if err != nil {
			return nil, err
		}
		count := len(logits) / (to - from) / classes
		if all == nil {
			all = make([]tally, count)
		}
		for i, label := range f.Labels[from:to] {
			for g := range all {
				all[g].add(logits[(i*count+g)*classes:][:classes], int(label))
			}
		}
	}
	for g := range all {
		all[g].Loss /= float64(f.Rows())
	}
	return all, nil
}

// add counts one answer. Of equal logits the first comes first; an answer that is not a number is wrong.
func (t *tally) add(logits []float32, label int) {
	if t.Classes == nil {
		t.Classes = make([]Share, len(logits))
	}
	own, best, place, sum := logits[label], slices.Max(logits), 0, 0.0 // Max is NaN if any is
	for class, v := range logits {
		if v > own || (v == own && class < label) {
			place++
		}
		sum += math.Exp(float64(v) - float64(best))
	}
	t.Loss += math.Log(sum) + float64(best) - float64(own)
	if math.IsNaN(sum) {
		place = len(logits)
	}
	count := func(s *Share, right bool) {
		s.Of++
		if right {
			s.Right++
		}
	}
	count(&t.Top1, place == 0)
	count(&t.Top5, place < 5 && place < len(logits))
	count(&t.Classes[label], place == 0)
}

// finite refuses answers that are not numbers.
func (t *tally) finite() error {
	if math.IsNaN(t.Loss) || math.IsInf(t.Loss, 0) {
		return fmt.Errorf("the classifier's answers are not finite; %s", diverged)
	}
	return nil
}

// diverged says what to do about it.
const diverged = "the learning rate is too high for these features: lower --lr, or take --fast, which standardises them"
