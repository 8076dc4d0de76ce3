package drift_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"mocostream/train/drift"
)

const dim = 6

// bursts draws sources of near-duplicate frames: each has a place of its own, around 1 in every dimension plus shift in the
// first, and its frames lie close by. In a longer one lie more.
func bursts(rng *rand.Rand, sources int, shift float64, add func(source uint64, x []float32)) {
	for s := range sources {
		centre := make([]float64, dim)
		for d := range centre {
			centre[d] = 1 + rng.NormFloat64()
		}
		centre[0] += shift
		for range 1 + rng.IntN(8) {
			x := make([]float32, dim)
			for d := range x {
				x[d] = float32(centre[d] + .05*rng.NormFloat64())
			}
			add(uint64(s), x)
		}
	}
}

func set(t *testing.T, rng *rand.Rand, sources int, shift float64) *drift.Set {
	t.Helper()
	s := &drift.Set{}
	bursts(rng, sources, shift, func(source uint64, x []float32) {
		if err := s.Add(source, x); err != nil {
			t.Fatal(err)
		}
	})
	return s
}

func compare(t *testing.T, reference, current *drift.Set, permutations int, rng *rand.Rand) drift.Result {
	t.Helper()
	r, err := drift.NewReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	result, err := r.Compare(current, permutations, rng)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// plain is the definition: means over pairs of sources, each the mean over pairs of frames, with the median heuristic.
func plain(reference, current *drift.Set) float64 {
	group := func(s *drift.Set) (all [][][]float32) {
		for i, source := range s.Sources {
			for int(source) >= len(all) {
				all = append(all, nil)
			}
			all[source] = append(all[source], s.X[i*dim:(i+1)*dim])
		}
		return all
	}
	squared := func(a, b []float32) (d float64) {
		for i := range a {
			d += float64(a[i]-b[i]) * float64(a[i]-b[i])
		}
		return d
	}
	x, y := group(reference), group(current)
	var distances []float64
	for i := range x {
		for j := range i {
			for _, a := range x[i] {
				for _, b := range x[j] {
					distances = append(distances, squared(a, b))
				}
			}
		}
	}
	median := medianOf(distances)
	kernel := func(p, q [][]float32) (sum float64) {
		for _, a := range p {
			for _, b := range q {
				sum += math.Exp(-squared(a, b) / (2 * median))
			}
		}
		return sum / float64(len(p)*len(q))
	}
	within := func(all [][][]float32) (sum float64) {
		for i := range all {
			for j := range all {
				if i != j {
					sum += kernel(all[i], all[j])
				}
			}
		}
		return sum / float64(len(all)*(len(all)-1))
	}
	across := 0.0
	for _, p := range x {
		for _, q := range y {
			across += kernel(p, q)
		}
	}
	return within(x) + within(y) - 2*across/float64(len(x)*len(y))
}

// medianOf finds it by counting, which no sort can get wrong.
func medianOf(all []float64) float64 {
	for _, v := range all {
		below, equal := 0, 0
		for _, w := range all {
			if w < v {
				below++
			} else if w == v {
				equal++
			}
		}
		if below <= len(all)/2 && len(all)/2 < below+equal {
			return v
		}
	}
	return math.NaN()
}

func TestEstimateIsTheDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for _, shift := range []float64{0, 1} {
		reference, current := set(t, rng, 9, 0), set(t, rng, 5, shift)
		if got, want := compare(t, reference, current, 1, rng).MMD2, plain(reference, current); math.Abs(got-want) > 1e-6 {
			t.Errorf("shift %v: estimate %v, by its definition %v", shift, got, want)
		}
	}
}

// Whatever the number of sources and frames, the mean over many estimates is 0 without a change.
func TestEstimateIsUnbiased(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	for _, sizes := range [][2]int{{4, 3}, {16, 6}} {
		const draws = 1000
		var sum, squares float64
		for range draws {
			v := compare(t, set(t, rng, sizes[0], 0), set(t, rng, sizes[1], 0), 0, rng).MMD2
			sum, squares = sum+v, squares+v*v
		}
		mean := sum / draws
		err := math.Sqrt((squares/draws - mean*mean) / draws)
		if math.Abs(mean) > 4*err {
			t.Errorf("%v sources: mean %.5f ± %.5f, want 0", sizes, mean, err)
		}
	}
}

// share is how often a comparison of bursts without a change is significant at level alpha.
func share(t *testing.T, seed uint64, alpha float64, regroup func(*drift.Set)) float64 {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	const runs = 200
	significant := 0
	for range runs {
		reference, current := set(t, rng, 24, 0), set(t, rng, 12, 0)
		regroup(reference)
		regroup(current)
		if compare(t, reference, current, 99, rng).PValue <= alpha {
			significant++
		}
	}
	return float64(significant) / runs
}

// The level holds where sources are exchanged, and would not where frames are: the very mistake that bursts invite.
func TestLevelHoldsForBursts(t *testing.T) {
	const alpha = .05
	limit := alpha + 4*math.Sqrt(alpha*(1-alpha)/200)
	if got := share(t, 3, alpha, func(*drift.Set) {}); got > limit {
		t.Errorf("%.3f of comparisons without a change are significant, want at most %.3f", got, limit)
	}
	frames := func(s *drift.Set) {
		for i := range s.Sources {
			s.Sources[i] = uint64(i)
		}
	}
	if got := share(t, 3, alpha, frames); got < 2*limit {
		t.Errorf("%.3f where frames are exchanged: the test has no bursts to speak of", got)
	}
}

func TestChangeIsSignificant(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	for range 20 {
		if r := compare(t, set(t, rng, 64, 0), set(t, rng, 32, 2), 999, rng); r.PValue > .001 || r.MMD2 < .02 || r.Sources != 32 {
			t.Errorf("a change of two standard deviations gives %+v", r)
		}
	}
}

func TestWhatCannotBeCompared(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	if _, err := drift.NewReference(set(t, rng, 1, 0)); err == nil {
		t.Error("one source makes a reference")
	}
	r, err := drift.NewReference(set(t, rng, 3, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Compare(set(t, rng, 1, 0), 9, rng); err == nil {
		t.Error("one source is compared")
	}
	other := &drift.Set{}
	for s := range uint64(3) {
		if err := other.Add(s, make([]float32, dim+1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Compare(other, 9, rng); err == nil {
		t.Error("features of another length are compared")
	}
	if err := other.Add(0, []float32{float32(math.NaN())}); err == nil {
		t.Error("a feature that is no number is taken")
	}
	// Images that are all the same have no distances to go by.
	same := &drift.Set{}
	for s := range uint64(4) {
		if err := same.Add(s, []float32{1, 0}); err != nil {
			t.Fatal(err)
		}
	}
	if got := compare(t, same, same, 99, rng); got.MMD2 != 0 || got.PValue != 1 {
		t.Errorf("a set compared with itself gives %+v", got)
	}
	for _, c := range []struct {
		m, n   int
		enough bool
	}{{4, 4, false}, {7, 6, true}, {100, 1, false}, {1, 100, false}, {40, 2, false}, {60, 2, true}} {
		if got := drift.Enough(c.m, c.n, .001); got != c.enough {
			t.Errorf("%d and %d sources: enough is %v", c.m, c.n, got)
		}
	}
}

func TestSameSeedSameResult(t *testing.T) {
	run := func() drift.Result {
		rng := rand.New(rand.NewPCG(6, 0))
		return compare(t, set(t, rng, 9, 0), set(t, rng, 7, .3), 99, rng)
	}
	if a, b := run(), run(); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, then %+v", a, b)
	}
}
