package nn_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"mocostream/train/nn"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// normalisation is a case of BatchNorm: images [batch, h, w, c] in groups of consecutive samples.
type normalisation struct{ batch, h, w, c, groups int }

// TestBatchNorm compares value, statistics and gradients with the definition, for random shapes and groups: GoMLX's
// differentiation of NHWC, CHWN's own gradient, and rows, which are images of one pixel.
func TestBatchNorm(t *testing.T) {
	backend := goBackend(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		c := normalisation{h: 1 + rng.IntN(9), w: 1 + rng.IntN(9), c: 1 + rng.IntN(6), groups: 1 + rng.IntN(4)}
		c.batch = c.groups * (3 + rng.IntN(3)) // two samples of a pixel each may lie so close that rounding is all
		c.check(t, backend, map[string]nn.Layers{"nhwc": nn.NHWC{Training: true}, "chwn": nn.CHWN{Training: true}})
		c.h, c.w = 1, 1
		c.check(t, backend, map[string]nn.Layers{"nhwc": nn.NHWC{Training: true}, "chwn": nn.CHWN{Training: true}, "rows": nil})
	}
}

func (c normalisation) check(t *testing.T, backend compute.Backend, layouts map[string]nn.Layers) {
	rng := rand.New(rand.NewPCG(5, uint64(c.batch*c.h*c.w*c.c)))
	inputs := []*tensors.Tensor{
		random(rng, c.batch, c.h, c.w, c.c), random(rng, c.c), random(rng, c.c), random(rng, c.batch, c.h, c.w, c.c),
	}
	var flat [4][]float32
	for i, x := range inputs {
		flat[i] = tensors.MustCopyFlatData[float32](x)
	}
	want := c.byDefinition(flat[0], flat[1], flat[2], flat[3])
	for name, l := range layouts {
		t.Run(fmt.Sprintf("%+v/%s", c, name), func(t *testing.T) {
			for i, got := range c.build(t, backend, l, inputs) {
				if e := absoluteError(got, want[i]); !(e < 5e-5) {
					t.Errorf("%s: error %.2g",
						[]string{"value", "mean", "variance", "gradient of x", "gradient of the weight", "gradient of the bias"}[i], e)
				}
			}
		})
	}
}

// build returns the mean over pixels [batch, c] of v times the result, the statistics, and the gradients of the former's
// sum; of rows where there is no layout.
func (c normalisation) build(t *testing.T, backend compute.Backend, l nn.Layers, inputs []*tensors.Tensor) [][]float32 {
	t.Helper()
	outputs, err := graph.CallOnceN(backend, func(in []*graph.Node) []*graph.Node {
		if l == nil {
			x, v := graph.Reshape(in[0], c.batch, c.c), graph.Reshape(in[3], c.batch, c.c)
			y, mean, variance := nn.BatchNormRows(x, in[1], in[2], c.groups)
			y = graph.Mul(y, v)
			return append([]*graph.Node{y, mean, variance}, graph.Gradient(graph.ReduceAllSum(y), in[:3]...)...)
		}
		asIs := func(x *graph.Node) *graph.Node { return l.Input(x, [3]float32{}, [3]float32{1, 1, 1}) }
		y, mean, variance := l.BatchNorm(asIs(in[0]), in[1], in[2], c.groups)
		pooled := l.Pool(graph.Mul(y, asIs(in[3])))
		return append([]*graph.Node{pooled, mean, variance}, graph.Gradient(graph.ReduceAllSum(pooled), in[:3]...)...)
	}, inputs)
	if err != nil {
		t.Fatal(err)
	}
	var flat [][]float32
	for _, o := range outputs {
		flat = append(flat, tensors.MustCopyFlatData[float32](o))
	}
	return flat
}

// byDefinition returns what build does, in float64 (Ioffe and Szegedy 2015, algorithm 1 and section 3).
func (c normalisation) byDefinition(x, gamma, beta, v []float32) [][]float32 {
	pixels := c.h * c.w
	pooled, mean, variance := make([]float64, c.batch*c.c), make([]float64, c.c), make([]float64, c.c)
	dx, dGamma, dBeta := make([]float64, len(x)), make([]float64, c.c), make([]float64, c.c)
	n := len(x) / c.c / c.groups // values of a channel in a group
	for group := range c.groups {
		for ch := range c.c {
			at := func(i int) int { return (group*n+i)*c.c + ch }
			var mu, sigma2, sumV, sumVX float64
			for i := range n {
				mu += float64(x[at(i)]) / float64(n)
			}
			for i := range n {
				sigma2 += math.Pow(float64(x[at(i)])-mu, 2) / float64(n)
			}
			root := math.Sqrt(sigma2 + nn.Epsilon)
			for i := range n {
				hat, up := (float64(x[at(i)])-mu)/root, float64(v[at(i)])/float64(pixels)
				pooled[at(i)/c.c/pixels*c.c+ch] += up * (float64(gamma[ch])*hat + float64(beta[ch]))
				sumV, sumVX = sumV+up, sumVX+up*hat
			}
			for i := range n {
				hat, up := (float64(x[at(i)])-mu)/root, float64(v[at(i)])/float64(pixels)
				dx[at(i)] = float64(gamma[ch]) / root * (up - sumV/float64(n) - hat*sumVX/float64(n))
			}
			mean[ch] += mu / float64(c.groups)
			variance[ch] += sigma2 * float64(n) / float64(n-1) / float64(c.groups)
			dGamma[ch], dBeta[ch] = dGamma[ch]+sumVX, dBeta[ch]+sumV
		}
	}
	return [][]float32{floats32(pooled), floats32(mean), floats32(variance), floats32(dx), floats32(dGamma), floats32(dBeta)}
}

// absoluteError is the largest difference, in units of the largest value or of 1.
func absoluteError(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst, unit := 0., 1.
	for i, w := range want {
		worst, unit = max(worst, math.Abs(float64(got[i]-w))), max(unit, math.Abs(float64(w)))
	}
	return worst / unit
}

// A BatchNorm of fixed statistics is a scale of the weights before it and a shift.
func TestAffine(t *testing.T) {
	out, err := graph.CallOnce(goBackend(t), func(weight *graph.Node) *graph.Node {
		c := func(v ...float32) *graph.Node { return graph.Const(weight.Graph(), v) }
		scale, shift := nn.Affine(c(2, 3), c(.5, -1), c(1, 0), c(4-nn.Epsilon, 1-nn.Epsilon))
		return graph.Concatenate([]*graph.Node{graph.Reshape(nn.Scaled(weight, scale), 4), shift}, 0)
	}, [][]float32{{3, 2}, {1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	if e := absoluteError(tensors.MustCopyFlatData[float32](out), []float32{3, 2, 3, -3, -.5, -1}); !(e < 1e-6) {
		t.Errorf("%v: error %.2g", out, e)
	}
}
