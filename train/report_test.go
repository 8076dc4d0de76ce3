package train

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// reportOf computes a report of [rows][columns] on the Go backend.
func reportOf(t *testing.T, q, positive, negative [][]float32) []float32 {
	t.Helper()
	exec, err := graph.NewExec(goBackend(t).Backend, func(in []*Node) *Node {
		return report(measure(in[3], contrast{q: in[0], positive: in[1], negative: in[2]}), in[4])
	})
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	out, err := exec.Call(q, positive, negative, float32(3), float32(7))
	if err != nil {
		t.Fatal(err)
	}
	return tensors.MustCopyFlatData[float32](out[0])
}

func TestReportCountsBetterNegatives(t *testing.T) {
	q := [][]float32{{1, 0}, {0, 1}, {-1, 0}, {0, -1}}
	positive := [][]float32{{.9}, {.5}, {.5}, {-1}}
	negative := [][]float32{
		{.1, .2, .3, .4, .5, .8},
		{.1, .2, .3, .4, .5, .1}, // an equal one is no less similar
		{.6, .6, .6, .6, .6, .1},
		{0, 0, 0, 0, 0, 0},
	}
	got := reportOf(t, q, positive, negative)
	if got[reportTop1] != .25 || got[reportTop5] != .5 {
		t.Errorf("top-1 %v, top-5 %v; want 0.25 and 0.5", got[reportTop1], got[reportTop5])
	}
	if got[reportLoss] != 3 || got[reportGradNorm] != 7 || math.Abs(float64(got[reportPositive])-.225) > 1e-6 {
		t.Errorf("loss %v, gradient norm %v, positive %v", got[reportLoss], got[reportGradNorm], got[reportPositive])
	}
}

// The square's corners vary in two of two dimensions, alike: spread 1 and rank 2. Points on a line have rank 1, equal ones 0.
func TestReportOfKnownEmbeddings(t *testing.T) {
	for name, c := range map[string]struct {
		q            [][]float32
		spread, rank float64
	}{
		"square": {[][]float32{{1, 0}, {0, 1}, {-1, 0}, {0, -1}}, 1, 2},
		"line":   {[][]float32{{1, 0}, {-1, 0}, {1, 0}, {-1, 0}}, math.Sqrt2 / 2, 1},
		"point":  {[][]float32{{1, 0}, {1, 0}, {1, 0}, {1, 0}}, 0, 0},
	} {
		one := [][]float32{{1}, {1}, {1}, {1}}
		got := reportOf(t, c.q, one, one)
		if s, r := float64(got[reportSpread]), float64(got[reportRank]); math.Abs(s-c.spread) > 1e-6 || math.Abs(r-c.rank) > 1e-6 {
			t.Errorf("%s: spread %v and effective rank %v, want %v and %v", name, s, r, c.spread, c.rank)
		}
	}
}

// The participation ratio of unit vectors by its definition, from the covariance in float64.
func TestEffectiveRankIsTheParticipationRatio(t *testing.T) {
	const batch, dim = 16, 5
	rng := rand.New(rand.NewPCG(1, 2))
	q := make([][]float32, batch)
	for i := range q {
		q[i] = make([]float32, dim)
		for j := range q[i] {
			q[i][j] = float32(rng.NormFloat64()/float64(1+j) + .5)
		}
		unit(q[i])
	}
	var mean [dim]float64
	var c [dim][dim]float64
	for _, row := range q {
		for j, x := range row {
			mean[j] += float64(x) / batch
		}
	}
	for _, row := range q {
		for j := range dim {
			for k := range dim {
				c[j][k] += (float64(row[j]) - mean[j]) * (float64(row[k]) - mean[k]) / (batch - 1)
			}
		}
	}
	var trace, squares float64
	for j := range dim {
		trace += c[j][j]
		for k := range dim {
			squares += c[j][k] * c[k][j]
		}
	}
	want := trace * trace / squares
	if want < 1.1 || want > dim-.5 {
		t.Fatalf("%v tells nothing", want)
	}
	one := make([][]float32, batch)
	for i := range one {
		one[i] = []float32{1}
	}
	if got := float64(reportOf(t, q, one, one)[reportRank]); math.Abs(got-want) > 1e-5*want {
		t.Errorf("effective rank %v, want %v", got, want)
	}
}

func unit(row []float32) {
	var sum float64
	for _, x := range row {
		sum += float64(x) * float64(x)
	}
	for i := range row {
		row[i] /= float32(math.Sqrt(sum))
	}
}

// queueAge against a queue that is filled step by step.
func TestQueueAge(t *testing.T) {
	for _, c := range []struct{ k, perStep int64 }{{6, 4}, {8, 4}, {4, 4}, {17, 3}, {5, 1}} {
		var queue []int64 // step of each key, newest first
		for done := range int64(12) {
			var want float64
			for _, step := range queue {
				want += float64(done+1-step) / float64(len(queue))
			}
			if got := queueAge(c.k, c.perStep, done); math.Abs(got-want) > 1e-9 {
				t.Errorf("queue of %d, %d a step, after %d steps: %v, want %v", c.k, c.perStep, done, got, want)
			}
			for range c.perStep {
				queue = append([]int64{done + 1}, queue...)
			}
			queue = queue[:min(int64(len(queue)), c.k)]
		}
	}
}
