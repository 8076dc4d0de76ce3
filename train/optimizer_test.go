package train

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// optimizerCase is five steps of an optimizer in PyTorch (testdata/make_optimizer_fixture.py).
type optimizerCase struct {
	Name        string
	Momentum    float64
	WeightDecay float64 `json:"weight_decay"`
	Beta1       float64
	Beta2       float64
	Epsilon     float64
	Shape       []int
	exclude     bool
	Initial     []float32
	Steps       []struct {
		Rate      float64
		Gradient  []float32
		Parameter []float32
		State     map[string][]float32
	}
}

func TestOptimizersAreTorchs(t *testing.T) {
	fixture := readOptimizers(t)
	backend := goBackend(t)
	seen := map[string]int{}
	for _, c := range fixture.Cases {
		seen[c.Name]++
		c.run(t, backend)
	}
	if seen["sgd"] < 2 || seen["adamw"] < 2 || seen["lars"] < 4 {
		t.Errorf("the fixture has the cases %v, want two of sgd and adamw and four of lars at least", seen)
	}
}

// A case without weight decay of a parameter of one dimension is one with decay, where that leaves such parameters out.
func TestExcludedParametersDoNotDecay(t *testing.T) {
	backend := goBackend(t)
	seen := map[string]int{}
	for _, c := range readOptimizers(t).Cases {
		if len(c.Shape) == 1 && c.WeightDecay == 0 {
			seen[c.Name]++
			c.WeightDecay, c.exclude = .5, true
			c.run(t, backend)
		}
	}
	if seen["sgd"] == 0 || seen["adamw"] == 0 {
		t.Errorf("the fixture has the cases %v, want one of sgd and adamw", seen)
	}
	for _, c := range readOptimizers(t).Cases {
		c.exclude = len(c.Shape) > 1 // these decay still
		c.run(t, backend)
	}
}

// clipCase is two gradients before and after torch.nn.utils.clip_grad_norm_.
type clipCase struct {
	ClipNorm           float64 `json:"clip_norm"`
	Norm               float32
	Gradients, Clipped [2][]float32
}

func TestClippingIsTorchs(t *testing.T) {
	backend := goBackend(t)
	cases := readOptimizers(t).Clips
	if len(cases) < 4 {
		t.Fatalf("the fixture has %d cases of clipping", len(cases))
	}
	for i, c := range cases {
		exec, err := graph.NewExec(backend.Backend, func(a, b *Node) []*Node {
			length := norm(a, b)
			return append(OptimizerOptions{ClipNorm: c.ClipNorm}.clipped([]*Node{a, b}, length), length)
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Call(c.Gradients[0], c.Gradients[1])
		if err != nil {
			t.Fatal(err)
		}
		for j, want := range [][]float32{c.Clipped[0], c.Clipped[1], {c.Norm}} {
			near(t, "clipped", i, tensors.MustCopyFlatData[float32](out[j]), want)
		}
		exec.Finalize()
	}
}

// optimizerFixture is testdata/optimizer.json.
type optimizerFixture struct {
	Cases []optimizerCase
	Clips []clipCase
}

func readOptimizers(t *testing.T) (f optimizerFixture) {
	t.Helper()
	text, err := os.ReadFile("testdata/optimizer.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func (c optimizerCase) run(t *testing.T, backend *Backend) {
	t.Helper()
	o := OptimizerOptions{
		Name: c.Name, Momentum: c.Momentum, WeightDecay: c.WeightDecay,
		Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: c.Epsilon,
		ExcludeNormBias: c.exclude,
	}
	slots, err := o.slots()
	if err != nil {
		t.Fatal(err)
	}
	exec, err := graph.NewExec(backend.Backend, func(in []*Node) []*Node {
		moved, state := o.update(in[0], in[1], in[2], in[3:])
		return append([]*Node{moved}, state...)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	now := [][]float32{c.Initial}
	for range slots {
		now = append(now, make([]float32, len(c.Initial)))
	}
	for i, step := range c.Steps {
		hyper := o.hyper(step.Rate, int64(i))
		in := []any{
			tensors.FromFlatDataAndDimensions(now[0], c.Shape...),
			tensors.FromFlatDataAndDimensions(step.Gradient, c.Shape...),
			hyper[:],
		}
		for _, state := range now[1:] {
			in = append(in, tensors.FromFlatDataAndDimensions(state, c.Shape...))
		}
		out, err := exec.Call(in...)
		if err != nil {
			t.Fatal(err)
		}
		for j := range now {
			now[j] = tensors.MustCopyFlatData[float32](out[j])
		}
		near(t, c.Name+" parameter", i, now[0], step.Parameter)
		for j, slot := range slots {
			if want, ok := step.State[slot]; ok || c.Momentum != 0 || c.Name != "sgd" { // torch keeps no buffer without momentum
				near(t, c.Name+" "+slot, i, now[1+j], want)
			}
		}
	}
}

// near asks for 1e-6 of the largest value.
func near(t *testing.T, what string, step int, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s, step %d: %d values, want %d", what, step, len(got), len(want))
	}
	var largest, worst float64
	for i := range want {
		largest = max(largest, math.Abs(float64(want[i])))
		worst = max(worst, math.Abs(float64(got[i])-float64(want[i])))
	}
	if !(worst <= 1e-6*largest) {
		t.Errorf("%s, step %d: %v, want %v", what, step, got, want)
	}
}

func TestUnknownOptimizer(t *testing.T) {
	o := tiny()
	o.Optimizer.Name = "adam"
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), `unknown optimizer "adam"; use sgd, lars or adamw`) {
		t.Errorf("got %v", err)
	}
}
