package eval

import (
	"math"
	"testing"

	"mocostream/train/knn"
)

// The limits are the roots p of (p - right/of)^2 = z^2 p (1-p) / of, by the formula for quadratic equations.
func TestShareInterval(t *testing.T) {
	for _, c := range []struct {
		right, of int
		low, high float64
	}{
		{50, 100, .40383153, .59616847},
		{10, 10, .72246720, 1},
		{0, 10, 0, .27753280},
		{1, 1000, .00017655, .00564256},
		{7090, 10000, .70001847, .71782101},
	} {
		low, high := Share{c.right, c.of}.Interval()
		if math.Abs(low-c.low) > 1e-8 || math.Abs(high-c.high) > 1e-8 {
			t.Errorf("%d of %d: %.8f to %.8f, want %.8f to %.8f", c.right, c.of, low, high, c.low, c.high)
		}
	}
	if low, high := (Share{}).Interval(); low != 0 || high != 1 || (Share{}).Value() != 0 {
		t.Errorf("of nothing: %v to %v", low, high)
	}
}

func TestTally(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, c := range map[string]struct {
		logits     []float32
		label      int
		top1, top5 int
		loss       float64
	}{
		"right":            {[]float32{1, 3, 2}, 1, 1, 1, math.Log(1 + math.Exp(-1) + math.Exp(-2))},
		"second":           {[]float32{1, 3, 2}, 2, 0, 1, math.Log(1+math.Exp(-1)+math.Exp(-2)) + 1},
		"sixth":            {[]float32{6, 5, 4, 3, 2, 1, 0}, 5, 0, 0, 5 + math.Log((1-math.Exp(-7))/(1-math.Exp(-1)))},
		"fifth":            {[]float32{6, 5, 4, 3, 2, 1, 0}, 4, 0, 1, 4 + math.Log((1-math.Exp(-7))/(1-math.Exp(-1)))},
		"equal, first":     {[]float32{2, 2}, 0, 1, 1, math.Ln2},
		"equal, second":    {[]float32{2, 2}, 1, 0, 1, math.Ln2},
		"far apart":        {[]float32{-4000, 4000}, 0, 0, 1, 8000},
		"not a number":     {[]float32{1, nan}, 0, 0, 0, math.NaN()},
		"own not a number": {[]float32{nan, 1}, 0, 0, 0, math.NaN()},
		"infinite":         {[]float32{inf, 1}, 0, 0, 0, math.NaN()},
	} {
		var got tally
		got.add(c.logits, c.label)
		if got.Top1 != (Share{c.top1, 1}) || got.Top5 != (Share{c.top5, 1}) || got.Classes[c.label] != got.Top1 {
			t.Errorf("%s: top-1 %v, top-5 %v, by class %v", name, got.Top1, got.Top5, got.Classes)
		}
		if math.IsNaN(c.loss) != (got.finite() != nil) || (!math.IsNaN(c.loss) && math.Abs(got.Loss-c.loss) > 1e-9*(1+c.loss)) {
			t.Errorf("%s: loss %v (%v), want %v", name, got.Loss, got.finite(), c.loss)
		}
	}
}

// What is standardised has mean 0 and deviation 1, or is 0 where nothing varied; a classifier of it is one of the features.
func TestScale(t *testing.T) {
	f := knn.Features{Dim: 3, X: []float32{1, 7.7, 10, 3, 7.7, 20, 5, 7.7, 60}, Labels: []int32{0, 1, 0}}
	s := newScale(f)
	got := s.apply(f)
	for d := range f.Dim {
		var sum, square float64
		for i := range 3 {
			v := float64(got.X[i*f.Dim+d])
			sum, square = sum+v, square+v*v
		}
		if want := map[int]float64{0: 3, 1: 0, 2: 3}[d]; math.Abs(sum) > 1e-6 || math.Abs(square-want) > 1e-5 {
			t.Errorf("dimension %d: sum %v, squares %v", d, sum, square)
		}
	}
	other := knn.Features{Dim: 3, X: []float32{2, 9, 15}}
	if x := s.apply(other).X; x[1] != 0 {
		t.Errorf("a dimension that did not vary is %v in another set", x[1])
	}
	weight, bias := []float32{1, -2, 3, .5, 4, -1}, []float32{.1, -.2}
	logits := func(x, w, b []float32) (out [2]float64) {
		for class := range out {
			out[class] = float64(b[class])
			for d := range 3 {
				out[class] += float64(x[d]) * float64(w[class*3+d])
			}
		}
		return out
	}
	want := logits(s.apply(other).X, weight, bias)
	s.fold(weight, bias)
	for class, v := range logits(other.X, weight, bias) {
		if math.Abs(v-want[class]) > 1e-5 {
			t.Errorf("class %d: folded %v, want %v", class, v, want[class])
		}
	}
}

func TestSplit(t *testing.T) {
	f := knn.Features{Dim: 1}
	for class, n := range []int{10, 2, 1, 4} {
		for range n {
			f.X, f.Labels = append(f.X, float32(len(f.X))), append(f.Labels, int32(class))
		}
	}
	part, out, err := split(f, .2, 4, 5)
	if err != nil {
		t.Fatal(err)
	}
	counts := make([]int, 4)
	seen := map[float32]bool{}
	for i, label := range out.Labels {
		counts[label]++
		seen[out.X[i]] = true
	}
	for _, x := range part.X {
		seen[x] = true
	}
	if counts[0] != 2 || counts[1] != 1 || counts[2] != 0 || counts[3] != 1 || len(seen) != 17 || part.Rows() != 13 {
		t.Errorf("held out %v of 10, 2, 1 and 4; %d rows to train on, %d in all", counts, part.Rows(), len(seen))
	}
	for seed := range uint64(3) {
		_, a, _ := split(f, .2, 4, seed)
		_, b, _ := split(f, .2, 4, seed)
		for i := range a.X {
			if a.X[i] != b.X[i] {
				t.Errorf("seed %d does not hold out the same rows twice", seed)
			}
		}
	}
	if _, _, err := split(knn.Features{Dim: 1, X: []float32{1, 2}, Labels: []int32{0, 1}}, .2, 2, 1); err == nil {
		t.Error("a split of classes of one image each")
	}
}
