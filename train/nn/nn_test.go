package nn_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"mocostream/train/nn"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// layer is one operation on images x [B, H, W, C] with parameters; it returns what Pool and the graph's outputs can see.
type layer struct {
	name   string
	params [][]int
	build  func(l nn.Layers, x *nn.Node, p []*nn.Node) *nn.Node
}

func layers() []layer {
	var all []layer
	for _, groups := range []int{1, 2, 4} {
		all = append(all, layer{
			name:   fmt.Sprintf("batchnorm/%d", groups),
			params: [][]int{{3}, {3}},
			build: func(l nn.Layers, x *nn.Node, p []*nn.Node) *nn.Node {
				y, _, _ := l.BatchNorm(x, p[0], p[1], groups)
				return y
			},
		})
	}
	return append(all,
		layer{"bias", [][]int{{3}}, func(l nn.Layers, x *nn.Node, p []*nn.Node) *nn.Node { return l.Bias(x, p[0]) }},
		layer{"relu", nil, func(l nn.Layers, x *nn.Node, _ []*nn.Node) *nn.Node { return l.Activate(x, nn.ReLU) }},
		layer{"silu", nil, func(l nn.Layers, x *nn.Node, _ []*nn.Node) *nn.Node { return l.Activate(x, nn.SiLU) }},
		layer{"maxpool", nil, func(l nn.Layers, x *nn.Node, _ []*nn.Node) *nn.Node { return l.MaxPool(x) }},
	)
}

func goBackend(t *testing.T) compute.Backend {
	t.Helper()
	backend, err := compute.NewWithConfig("go:parallelism=-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Finalize)
	return backend
}

// TestLayoutsAgree compares value and gradients of each layer in both layouts, for even, odd and large sides.
func TestLayoutsAgree(t *testing.T) {
	backend := goBackend(t)
	for _, side := range [][2]int{{6, 8}, {7, 5}, {18, 16}} {
		for _, layer := range layers() {
			t.Run(fmt.Sprintf("%s/%dx%d", layer.name, side[0], side[1]), func(t *testing.T) {
				want := evaluate(t, backend, nn.NHWC{}, layer, side)
				got := evaluate(t, backend, nn.CHWN{Training: true}, layer, side)
				for i := range want {
					if e := relativeError(got[i], want[i]); e > 2e-5 {
						t.Errorf("output %d: relative error %.2g", i, e)
					}
				}
			})
		}
	}
}

// evaluate returns pooled squares of the layer's output, then the gradients with respect to x and each parameter. The
// weights of the loss differ from pixel to pixel by way of x itself, so that no displacement goes unseen.
func evaluate(t *testing.T, backend compute.Backend, l nn.Layers, layer layer, side [2]int) [][]float32 {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	inputs := []any{random(rng, 8, side[0], side[1], 3)}
	for _, shape := range layer.params {
		inputs = append(inputs, random(rng, shape...))
	}
	exec, err := graph.NewExec(backend, func(in []*graph.Node) []*graph.Node {
		x := l.Input(in[0], [3]float32{}, [3]float32{1, 1, 1})
		y := layer.build(l, x, in[1:])
		pooled := l.Pool(graph.Mul(y, graph.Add(y, layer.build(l, graph.Square(x), in[1:]))))
		loss := graph.ReduceAllSum(graph.Mul(pooled, graph.Sin(graph.IotaFull(x.Graph(), pooled.Shape()))))
		return append([]*graph.Node{pooled}, graph.Gradient(loss, in...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := exec.Call(inputs...)
	if err != nil {
		t.Fatal(err)
	}
	var flat [][]float32
	for _, o := range outputs {
		flat = append(flat, tensors.MustCopyFlatData[float32](o))
	}
	return flat
}

func random(rng *rand.Rand, shape ...int) *tensors.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return tensors.FromFlatDataAndDimensions(x, shape...)
}

func relativeError(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, norm float64
	for i := range want {
		diff += math.Pow(float64(got[i]-want[i]), 2)
		norm += math.Pow(float64(want[i]), 2)
	}
	return math.Sqrt(diff / norm)
}
