package nn_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"mocostream/train/nn"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// convolution is a case of Conv: images [batch, h, w, in] and weights [out, in/groups, k, k].
type convolution struct{ batch, h, w, in, out, k, stride, groups int }

func (c convolution) String() string {
	return fmt.Sprintf("%dx%dx%dx%d to %d, %dx%d/%d, %d groups", c.batch, c.h, c.w, c.in, c.out, c.k, c.k, c.stride, c.groups)
}

// outputs are height and width of the result.
func (c convolution) outputs() (h, w int) { return (c.h-1)/c.stride + 1, (c.w-1)/c.stride + 1 }

// TestConv compares value and gradients with a convolution by its definition, for even, odd and large sides.
func TestConv(t *testing.T) {
	backend := goBackend(t)
	cases := []convolution{
		{batch: 3, h: 6, w: 8, in: 8, out: 4, k: 3, stride: 1, groups: 2},
		{batch: 2, h: 6, w: 8, in: 8, out: 16, k: 3, stride: 2, groups: 8},
		{batch: 4, h: 7, w: 5, in: 4, out: 4, k: 3, stride: 2, groups: 4},
		{batch: 2, h: 17, w: 16, in: 6, out: 9, k: 3, stride: 1, groups: 3},
	}
	for _, side := range [][2]int{{6, 8}, {7, 5}, {18, 16}} {
		for _, k := range []int{1, 3, 7} {
			for _, stride := range []int{1, 2} {
				cases = append(cases, convolution{batch: 2, h: side[0], w: side[1], in: 3, out: 4, k: k, stride: stride, groups: 1})
			}
		}
	}
	for _, c := range cases {
		rng := rand.New(rand.NewPCG(1, 2))
		ho, wo := c.outputs()
		x := random(rng, c.batch, c.h, c.w, c.in)
		weight := random(rng, c.out, c.in/c.groups, c.k, c.k)
		v := random(rng, c.batch, ho, wo, c.out)
		want := c.byDefinition(tensors.MustCopyFlatData[float32](x), tensors.MustCopyFlatData[float32](weight), tensors.MustCopyFlatData[float32](v))
		for name, l := range map[string]nn.Layers{"nhwc": nn.NHWC{Training: true}, "nhwc by GoMLX": nn.NHWC{}, "chwn": nn.CHWN{Training: true}} {
			t.Run(fmt.Sprintf("%s/%s", c, name), func(t *testing.T) {
				for i, got := range c.build(t, backend, l, x, weight, v) {
					if e := relativeError(got, want[i]); !(e < 1e-5) {
						t.Errorf("%s: relative error %.2g", []string{"value", "gradient of x", "gradient of the weight"}[i], e)
					}
				}
			})
		}
	}
}

// build returns the mean over pixels [batch, out] of v times the result, and the gradients of its sum.
func (c convolution) build(t *testing.T, backend compute.Backend, l nn.Layers, x, weight, v *tensors.Tensor) [][]float32 {
	t.Helper()
	outputs, err := graph.CallOnceN(backend, func(in []*graph.Node) []*graph.Node {
		y := l.Conv(l.Input(in[0], [3]float32{}, [3]float32{1, 1, 1}), in[1], c.stride, c.groups)
		pooled := l.Pool(graph.Mul(y, l.Input(in[2], [3]float32{}, [3]float32{1, 1, 1})))
		return append([]*graph.Node{pooled}, graph.Gradient(graph.ReduceAllSum(pooled), in[0], in[1])...)
	}, x, weight, v)
	if err != nil {
		t.Fatal(err)
	}
	var flat [][]float32
	for _, o := range outputs {
		flat = append(flat, tensors.MustCopyFlatData[float32](o))
	}
	return flat
}

// byDefinition returns what build does, in float64.
func (c convolution) byDefinition(x, weight, v []float32) [][]float32 {
	ho, wo := c.outputs()
	pooled, dx, dw := make([]float64, c.batch*c.out), make([]float64, len(x)), make([]float64, len(weight))
	share := 1 / float64(ho*wo)
	for i, up := range v {
		o, col, row, b := i%c.out, i/c.out%wo, i/c.out/wo%ho, i/c.out/wo/ho
		first := o / (c.out / c.groups) * (c.in / c.groups) // input channel of the group
		for tap := range c.k * c.k * c.in / c.groups {
			left, top, channel := tap%c.k, tap/c.k%c.k, tap/c.k/c.k
			at := [2]int{row*c.stride + top - (c.k-1)/2, col*c.stride + left - (c.k-1)/2}
			if at[0] < 0 || at[0] >= c.h || at[1] < 0 || at[1] >= c.w {
				continue
			}
			from := ((b*c.h+at[0])*c.w+at[1])*c.in + first + channel
			to := o*c.k*c.k*c.in/c.groups + tap
			pooled[b*c.out+o] += share * float64(up) * float64(x[from]) * float64(weight[to])
			dx[from] += share * float64(up) * float64(weight[to])
			dw[to] += share * float64(up) * float64(x[from])
		}
	}
	return [][]float32{floats32(pooled), floats32(dx), floats32(dw)}
}

func floats32(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}
