package eval_test

import (
	"math"
	"testing"

	"mocostream/train/eval"
	"mocostream/train/knn"
)

func answers(right ...int) []bool {
	all := make([]bool, 40)
	for _, i := range right {
		all[i] = true
	}
	return all
}

func span(from, to int) (all []int) {
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func TestWorse(t *testing.T) {
	for name, test := range map[string]struct {
		before, now []bool
		want        float64
	}{
		"the same":           {answers(1, 2, 3), answers(1, 2, 3), 1},
		"one lost":           {answers(1, 2, 3), answers(1, 2), 0.5},
		"one won":            {answers(1, 2), answers(1, 2, 3), 1},
		"five lost":          {answers(span(0, 10)...), answers(span(0, 5)...), 1.0 / 32},
		"eight lost two won": {answers(span(0, 10)...), answers(8, 9, 20, 21), 56.0 / 1024}, // (45+10+1)/2^10
	} {
		p, err := eval.Worse(test.before, test.now)
		if err != nil || math.Abs(p-test.want) > 1e-12 {
			t.Errorf("%s: p is %v, %v, want %v", name, p, err, test.want)
		}
	}
	if _, err := eval.Worse(answers(), answers()[1:]); err == nil {
		t.Error("different queries were compared")
	}
}

func TestCorrect(t *testing.T) {
	got := eval.Correct(knn.Features{Labels: []int32{1, 2, 3}}, knn.Result{Predictions: []int32{1, 0, 3}})
	if len(got) != 3 || !got[0] || got[1] || !got[2] {
		t.Errorf("correct are %v", got)
	}
}
