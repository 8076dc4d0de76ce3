package knn_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"

	"mocostream/train/knn"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Angles from the query at 0 degrees, with similarities 1, cos 10, cos 20, cos 60.
func angles(labels []int32, degrees ...float64) knn.Features {
	f := knn.Features{Dim: 2, Labels: labels}
	for i, d := range degrees {
		length := float32(i + 1) // must not matter
		f.X = append(f.X, length*float32(math.Cos(d*math.Pi/180)), length*float32(math.Sin(d*math.Pi/180)))
	}
	return f
}

func TestHandComputed(t *testing.T) {
	reference := angles([]int32{7, 3, 3, 5}, 0, 10, -20, 60)
	query := func(label int32) knn.Features { return angles([]int32{label}, 0) }
	for _, c := range []struct {
		name        string
		opts        knn.Options
		label, want int32
		top1, top5  float64
	}{
		{"nearest alone", knn.Options{K: 1}, 7, 7, 1, 1},
		{"a class out of reach is no hit", knn.Options{K: 1}, 3, 7, 0, 0},
		// exp(10) = 22026 against exp(9.848) + exp(9.397) = 18920 + 12051
		{"two near beat the nearest", knn.Options{K: 3, Temperature: 0.1}, 3, 3, 1, 1},
		{"second place", knn.Options{K: 3, Temperature: 0.1}, 7, 3, 0, 1},
		// exp(100) against exp(98.48) + exp(93.97): 1 against 0.219 + 0.0024
		{"cold votes go to the nearest", knn.Options{K: 3, Temperature: 0.01}, 7, 7, 1, 1},
		{"no overflow", knn.Options{K: 3, Temperature: 1e-6}, 7, 7, 1, 1},
		{"k beyond the reference", knn.Options{K: 100, Temperature: 0.1}, 5, 3, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := knn.Classify(reference, query(c.label), c.opts)
			if err != nil {
				t.Fatal(err)
			}
			if r.Predictions[0] != c.want || r.Top1 != c.top1 || r.Top5 != c.top5 {
				t.Errorf("predicted %d (top1 %v, top5 %v), want %d (%v, %v)", r.Predictions[0], r.Top1, r.Top5, c.want, c.top1, c.top5)
			}
			if r.K != min(c.opts.K, 4) || r.Classes != 3 || r.Queries != 1 {
				t.Errorf("k %d, classes %d, queries %d", r.K, r.Classes, r.Queries)
			}
		})
	}
}

func TestTiesGoToTheLowerRowAndClass(t *testing.T) {
	same := angles([]int32{4, 2, 2, 4}, 30, 30, 30, 30)
	near, err := knn.Nearest(same, angles(nil, 0), 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range near[0] {
		if n.Row != i {
			t.Errorf("neighbour %d is row %d", i, n.Row)
		}
	}
	r, err := knn.Classify(same, angles([]int32{2}, 0), knn.Options{K: 4})
	if err != nil {
		t.Fatal(err)
	}
	if r.Predictions[0] != 2 {
		t.Errorf("equal votes gave class %d, want the lower, 2", r.Predictions[0])
	}
}

func TestTop5CountsFivePlaces(t *testing.T) {
	reference := angles([]int32{0, 1, 2, 3, 4, 5}, 1, 2, 3, 4, 5, 6)
	for label, want := range []float64{1, 1, 1, 1, 1, 0} {
		r, err := knn.Classify(reference, angles([]int32{int32(label)}, 0), knn.Options{K: 6})
		if err != nil {
			t.Fatal(err)
		}
		if r.Top5 != want {
			t.Errorf("class in place %d: top5 %v, want %v", label+1, r.Top5, want)
		}
	}
}

func random(rng *rand.Rand, rows, dim, classes int) knn.Features {
	f := knn.Features{Dim: dim, X: make([]float32, rows*dim), Labels: make([]int32, rows)}
	for i := range f.X {
		f.X[i] = float32(rng.NormFloat64())
	}
	for i := range f.Labels {
		f.Labels[i] = int32(rng.IntN(classes))
		f.X[i*dim+int(f.Labels[i])%dim] += 1
	}
	return f
}

// naive is the notebook's predictor in float64, without blocks, heap or goroutines.
func naive(ref, qry knn.Features, k int, temperature float64) (predictions []int32, top1, top5 float64) {
	for q := range qry.Rows() {
		sims, order := make([]float64, ref.Rows()), make([]int, ref.Rows())
		for r := range sims {
			order[r] = r
			var ab, aa, bb float64
			for i := range ref.Dim {
				a, b := float64(qry.X[q*ref.Dim+i]), float64(ref.X[r*ref.Dim+i])
				ab, aa, bb = ab+a*b, aa+a*a, bb+b*b
			}
			sims[r] = ab / math.Sqrt(aa*bb)
		}
		sort.SliceStable(order, func(i, j int) bool { return sims[order[i]] > sims[order[j]] })
		votes := make([]float64, 64)
		for _, r := range order[:k] {
			votes[ref.Labels[r]] += math.Exp(sims[r] / temperature)
		}
		better := 0
		best := 0
		for c, v := range votes {
			if v > votes[best] {
				best = c
			}
			if v > votes[qry.Labels[q]] {
				better++
			}
		}
		predictions = append(predictions, int32(best))
		if better == 0 {
			top1++
		}
		if better < 5 {
			top5++
		}
	}
	n := float64(qry.Rows())
	return predictions, top1 / n, top5 / n
}

func TestAgainstNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ refs, queries, dim, classes, k int }{
		{1, 1, 1, 1, 1}, {300, 37, 13, 7, 20}, {129, 16, 8, 12, 64}, {128, 17, 31, 12, 5}, {500, 50, 128, 12, 200},
	} {
		ref, qry := random(rng, c.refs, c.dim, c.classes), random(rng, c.queries, c.dim, c.classes)
		r, err := knn.Classify(ref, qry, knn.Options{K: c.k})
		if err != nil {
			t.Fatal(err)
		}
		predictions, top1, top5 := naive(ref, qry, c.k, 0.1)
		if !slices.Equal(r.Predictions, predictions) || r.Top1 != top1 {
			t.Errorf("%+v: top1 %v, naive %v", c, r.Top1, top1)
		}
		if c.k >= 20 && r.Top5 != top5 { // with few neighbours the naive one counts classes without a vote
			t.Errorf("%+v: top5 %v, naive %v", c, r.Top5, top5)
		}
	}
}

func TestSameOnAnyNumberOfProcessors(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	ref, qry := random(rng, 400, 24, 9), random(rng, 101, 24, 9)
	before := slices.Clone(qry.X)
	one := nearestOn(t, 1, ref, qry)
	three := nearestOn(t, 3, ref, qry)
	for q := range one {
		if !slices.Equal(one[q], three[q]) {
			t.Fatalf("query %d differs", q)
		}
		if !slices.IsSortedFunc(one[q], func(a, b knn.Neighbour) int { return int(math.Copysign(1, float64(b.Similarity-a.Similarity))) }) {
			t.Errorf("query %d: not best first", q)
		}
	}
	if !slices.Equal(before, qry.X) {
		t.Error("the caller's features were changed")
	}
}

func nearestOn(t *testing.T, processors int, ref, qry knn.Features) [][]knn.Neighbour {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
	near, err := knn.Nearest(ref, qry, 9)
	if err != nil {
		t.Fatal(err)
	}
	return near
}

func TestWarnings(t *testing.T) {
	reference := angles([]int32{0, 1, 0, 1}, 0, 10, 20, 30)
	for _, c := range []struct {
		k     int
		label int32
		want  string
	}{
		{2, 1, ""}, {3, 1, "more than half"}, {200, 1, "more than half"}, {2, 9, "queries of a class that the reference lacks: 1"},
	} {
		r, err := knn.Classify(reference, angles([]int32{c.label}, 0), knn.Options{K: c.k})
		if err != nil {
			t.Fatal(err)
		}
		if (r.Warning == "") != (c.want == "") || !strings.Contains(r.Warning, c.want) {
			t.Errorf("k %d, label %d: warning %q, want %q", c.k, c.label, r.Warning, c.want)
		}
	}
}

func TestRefuses(t *testing.T) {
	good := angles([]int32{0, 1}, 0, 90)
	nan := angles([]int32{0, 1}, 0, 90)
	nan.X[2] = float32(math.NaN())
	inf := angles([]int32{0, 1}, 0, 90)
	inf.X[3] = float32(math.Inf(-1))
	for _, c := range []struct {
		name     string
		ref, qry knn.Features
		opts     knn.Options
		want     string
	}{
		{"NaN", good, nan, knn.Options{}, "query features: row 1 has a value that is not finite"},
		{"infinity", inf, good, knn.Options{}, "reference features: row 1 has a value that is not finite"},
		{"empty reference", knn.Features{Dim: 2}, good, knn.Options{}, "reference features: there are none"},
		{"empty query", good, knn.Features{Dim: 2}, knn.Options{}, "query features: there are none"},
		{"no dimension", good, knn.Features{}, knn.Options{}, "query features: dimension is 0"},
		{"torn row", good, knn.Features{Dim: 2, X: make([]float32, 3)}, knn.Options{}, "3 values are no whole number of rows of 2"},
		{"dimensions differ", good, knn.Features{Dim: 1, X: []float32{1}, Labels: []int32{0}}, knn.Options{}, "reference has dimension 2, query 1"},
		{"label missing", angles([]int32{0}, 0, 90), good, knn.Options{}, "1 labels for 2 rows"},
		{"unlabelled", good, angles([]int32{0, -1}, 0, 90), knn.Options{}, "query features: row 1 has no label"},
		{"negative k", good, good, knn.Options{K: -1}, "k is -1"},
		{"negative temperature", good, good, knn.Options{Temperature: -1}, "temperature is -1"},
		{"NaN temperature", good, good, knn.Options{Temperature: math.NaN()}, "temperature is NaN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := knn.Classify(c.ref, c.qry, c.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
	if _, err := knn.Nearest(good, good, 0); err == nil {
		t.Error("0 neighbours were found")
	}
}

// A black image has no direction; it is similar to nothing, not an error.
func TestZeroRow(t *testing.T) {
	near, err := knn.Nearest(angles(nil, 0, 90), knn.Features{Dim: 2, X: []float32{0, 0}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if near[0][0] != (knn.Neighbour{}) || near[0][1] != (knn.Neighbour{Row: 1}) {
		t.Errorf("neighbours %v", near[0])
	}
}

func BenchmarkClassify(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	ref, qry := random(rng, 6000, 128, 12), random(rng, 1200, 128, 12)
	for b.Loop() {
		if _, err := knn.Classify(ref, qry, knn.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
