package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/safetensors"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// goldenCase is case.json of a reference run, computed in float64 by PyTorch.
type goldenCase struct {
	Name    string `json:"name"`
	Batch   int    `json:"batch"`
	Image   int    `json:"image"`
	Steps   int    `json:"steps"`
	Encoder EncoderOptions
	Moco    struct {
		Mechanism    Mechanism `json:"mechanism"`
		Groups       int       `json:"bn_groups"`
		Queue        int       `json:"queue"`
		Momentum     float64   `json:"momentum_k"`
		Bank         int64     `json:"bank"`
		BankMomentum float64   `json:"bank_momentum"`
		Temperature  float64   `json:"temperature"`
	} `json:"moco"`
	Optimizer struct {
		LR          []float64 `json:"lr"`
		Momentum    float64   `json:"momentum"`
		WeightDecay float64   `json:"weight_decay"`
	} `json:"optimizer"`
	Float32Error map[string]float64 `json:"float32_error"`
}

// TestGolden repeats reference steps and compares what came of them, on both layouts. Cases lie in testdata/golden;
// MOCOSTREAM_GOLDEN names a folder with more. MOCOSTREAM_REQUIRE_GOLDEN (set by CI) makes their absence a failure.
// MOCOSTREAM_GOLDEN_BACKEND is the backend to run on in place of Go's, on its own layout alone.
func TestGolden(t *testing.T) {
	folders := []string{"testdata/golden"}
	if more := os.Getenv("MOCOSTREAM_GOLDEN"); more != "" {
		folders = append(folders, more)
	} else if os.Getenv("MOCOSTREAM_REQUIRE_GOLDEN") != "" {
		t.Fatal("MOCOSTREAM_GOLDEN is not set: point it at the folder of reference cases")
	}
	for _, folder := range folders {
		cases, err := filepath.Glob(filepath.Join(folder, "*", "case.json"))
		if err != nil || len(cases) == 0 {
			t.Fatalf("no reference cases (*/case.json) in %s", folder)
		}
		for _, path := range cases {
			testGoldenCase(t, filepath.Dir(path))
		}
	}
}

func testGoldenCase(t *testing.T, dir string) {
	text, err := os.ReadFile(filepath.Join(dir, "case.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCase(text)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	config, layouts := "go", []Layout{LayoutNHWC, LayoutCHWN}
	if other := os.Getenv("MOCOSTREAM_GOLDEN_BACKEND"); other != "" && other != config {
		config, layouts = other, []Layout{(&Backend{Config: other}).Layout()}
	}
	for _, layout := range layouts {
		t.Run(fmt.Sprintf("%s/%s", c.Name, layout), func(t *testing.T) {
			list, _, err := safetensors.ReadFile(filepath.Join(dir, "tensors.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			(&golden{T: t, goldenCase: c, reference: byName(list)}).run(config, layout)
		})
	}
}

// parseCase reads case.json. A setting that is not known here is an error: it would not be tested.
func parseCase(text []byte) (c goldenCase, err error) {
	var sections map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(text, &c), json.Unmarshal(text, &sections)); err != nil {
		return c, err
	}
	for name, to := range map[string]any{"encoder": &c.Encoder, "moco": &c.Moco, "optimizer": &c.Optimizer} {
		d := json.NewDecoder(bytes.NewReader(sections[name]))
		d.DisallowUnknownFields()
		if err := d.Decode(to); err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, nil
}

// golden runs one case and compares group by group.
type golden struct {
	*testing.T
	goldenCase
	reference map[string]safetensors.Tensor
}

func (g *golden) run(config string, layout Layout) {
	trainer := g.trainer(config, layout)
	defer trainer.Close()
	ours := map[string][]float32{} // by the reference's names
	for step := range g.Steps {
		g.step(trainer, step, ours)
	}
	weights, optimizer, err := trainer.State()
	if err != nil {
		g.Fatal(err)
	}
	for _, tensor := range slices.Concat(weights, optimizer) {
		if tensor.DType == "F32" {
			ours["final."+tensor.Name], _ = safetensors.Float32s(tensor)
		}
	}
	if g.Moco.Mechanism == MoCo {
		g.Run("queue_ptr", func(t *testing.T) { g.checkPointer(t, weights) })
	}
	ours["eval.encoder_q"] = g.evaluate(trainer)
	if len(g.Float32Error) == 0 {
		g.Fatal("the case names nothing to compare")
	}
	for group, limit := range g.Float32Error {
		g.compare(ours, group, max(10*limit, 1e-4))
	}
}

// trainer starts from the reference's initial state.
func (g *golden) trainer(config string, layout Layout) *Trainer {
	g.Helper()
	backend, err := OpenBackend(config)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(backend.Finalize)
	t, err := New(backend, Options{
		Encoder: g.Encoder, Mechanism: g.Moco.Mechanism, Size: g.Image, Batch: g.Batch,
		Bank: BankOptions{Rows: &Rows{starts: []int64{g.Moco.Bank}}, Momentum: g.Moco.BankMomentum},
		K:    g.Moco.Queue, M: g.Moco.Momentum, T: g.Moco.Temperature, Groups: g.Moco.Groups,
		Optimizer: OptimizerOptions{Name: "sgd", Momentum: g.Optimizer.Momentum, WeightDecay: g.Optimizer.WeightDecay},
		Schedule:  ScheduleOptions{Name: "constant"},
	})
	if err != nil {
		g.Fatal(err)
	}
	t.layout, t.traced = layout, true
	if err := t.Restore(g.initial(t)); err != nil {
		g.Fatal(err)
	}
	if t.exec, err = model.NewExec(backend.Backend, t.store, t.buildStep); err != nil {
		g.Fatal(err)
	}
	return t
}

// initial is the reference's state before step 0, as a checkpoint.
func (g *golden) initial(t *Trainer) *Checkpoint {
	c := &Checkpoint{Encoder: g.Encoder}
	for name, tensor := range g.reference {
		if rest, ok := strings.CutPrefix(name, "init."); ok {
			tensor.Name = rest
			c.Model = append(c.Model, tensor)
		}
	}
	for _, w := range t.weights {
		c.Optimizer = append(c.Optimizer, safetensors.FromFloat32s("momentum_buffer."+w.tensor(), w.Shape, make([]float32, w.Size())))
	}
	return c
}

// step feeds what the reference was given, and records what the step returned.
func (g *golden) step(t *Trainer, step int, ours map[string][]float32) {
	g.Helper()
	prefix := fmt.Sprintf("step%d.", step)
	var arguments []any
	for _, a := range t.arguments() {
		arguments = append(arguments, g.argument(prefix, a))
	}
	outputs, err := t.execute(arguments, g.Optimizer.LR[step])
	if err != nil {
		g.Fatal(err)
	}
	ours[prefix+"loss"] = tensors.MustCopyFlatData[float32](outputs[0])[reportLoss:][:1]
	for i, name := range []string{"q", "k", "logits"} {
		ours[prefix+name] = tensors.MustCopyFlatData[float32](outputs[1+i])
	}
	gradients := outputs[4:]
	for i, w := range t.weights {
		ours[prefix+"grad."+w.tensor()] = tensors.MustCopyFlatData[float32](gradients[i])
	}
}

// argument finds an argument of the step among the reference's tensors. Without a permutation keys keep their order.
func (g *golden) argument(prefix string, a argument) any {
	g.Helper()
	name, ok := map[string]string{
		queryArgument: "im_q", keyArgument: "im_k", orderArgument: "perm", indexArgument: "index", negativesArgument: "negatives",
	}[a.name]
	if !ok {
		g.Fatalf("a step takes %s, which no reference has", a.name)
	}
	if a.name == queryArgument || a.name == keyArgument {
		return g.images(prefix + name)
	}
	values := make([]int32, a.shape.Size())
	reference, ok := g.reference[prefix+name]
	if !ok && a.name == orderArgument {
		for i := range values {
			values[i] = int32(i)
		}
		return values
	}
	read, err := safetensors.Int64s(reference)
	if err != nil || len(read) != len(values) {
		g.Fatalf("%s%s: %d numbers, want %d (%v)", prefix, name, len(read), len(values), err)
	}
	for i, x := range read {
		values[i] = int32(x)
	}
	return values
}

// images turns a reference tensor [B, 3, H, W] into NHWC.
func (g *golden) images(name string) *tensors.Tensor {
	g.Helper()
	ref, ok := g.reference[name]
	if !ok {
		g.Fatalf("the reference has no %s", name)
	}
	x, err := safetensors.Float32s(ref)
	if err != nil {
		g.Fatal(err)
	}
	n, c, h, w := ref.Shape[0], ref.Shape[1], ref.Shape[2], ref.Shape[3]
	y := make([]float32, 0, len(x))
	for i := range n {
		y = append(y, transposed(x[i*c*h*w:(i+1)*c*h*w], c, h*w)...)
	}
	return tensors.FromFlatDataAndDimensions(y, n, h, w, c)
}

// evaluate runs the final query encoder in inference mode, head included, without normalising.
func (g *golden) evaluate(t *Trainer) []float32 {
	g.Helper()
	out, err := model.CallOnce(t.backend.Backend, t.store, func(_ *model.Scope, x *Node) *Node {
		pass := t.forward(x.Graph(), queryEncoder, false)
		pass.groups = 0
		return pass.head(pass.features(x, t.options.Mean, t.options.Std))
	}, g.images("eval.im"))
	if err != nil {
		g.Fatal(err)
	}
	return tensors.MustCopyFlatData[float32](out)
}

func (g *golden) checkPointer(t *testing.T, weights []safetensors.Tensor) {
	got, _ := safetensors.Int64s(byName(weights)[pointerName])
	want, err := safetensors.Int64s(g.reference["final."+pointerName])
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s is %v, want %v (%v)", pointerName, got, want, err)
	}
}

// compare asks that a group's tensors agree: ||ours - ref|| / ||ref|| over all of them.
func (g *golden) compare(ours map[string][]float32, group string, limit float64) {
	g.Run(group, func(t *testing.T) {
		var diff, norm float64
		count := 0
		for name, reference := range g.reference {
			base, ok := member(group, name)
			if !ok {
				continue
			}
			count++
			want, got := g.values(t, name), ours[name]
			if len(got) != len(want) || reference.DType != "F32" {
				t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
			}
			var start []float32
			if base {
				start = g.values(t, strings.Replace(name, "final.", "init.", 1))
			}
			for i := range want {
				w, o := float64(want[i]), float64(got[i])
				if base {
					w, o = w-float64(start[i]), o-float64(start[i])
				}
				diff += (o - w) * (o - w)
				norm += w * w
			}
		}
		if e := math.Sqrt(diff / norm); count == 0 || !(e <= limit) {
			t.Errorf("relative error %.3g over %d tensors, limit %.3g", e, count, limit)
		} else {
			t.Logf("relative error %.3g over %d tensors, limit %.3g", e, count, limit)
		}
	})
}

func (g *golden) values(t *testing.T, name string) []float32 {
	t.Helper()
	x, err := safetensors.Float32s(g.reference[name])
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return x
}

// member says whether the reference's tensor belongs to a group, and whether its change since the start is meant.
func member(group, name string) (change, ok bool) {
	isStep := strings.HasPrefix(name, "step")
	weight := strings.HasSuffix(name, ".weight") || strings.HasSuffix(name, ".bias")
	switch group {
	case "loss", "q", "logits":
		return false, isStep && strings.HasSuffix(name, "."+group)
	case "first_gradient":
		return false, strings.HasPrefix(name, "step0.grad.")
	case "final_weights":
		return false, weight && strings.HasPrefix(name, "final.encoder_")
	case "change_q", "change_k":
		return true, weight && strings.HasPrefix(name, "final.encoder_"+strings.TrimPrefix(group, "change_")+".")
	case "momentum_buffer":
		return false, strings.HasPrefix(name, "final.momentum_buffer.")
	case "running":
		return false, strings.HasPrefix(name, "final.encoder_q.") && strings.Contains(name, ".running_")
	case "queue":
		return false, name == "final.queue" || name == "final.bank"
	case "eval":
		return false, name == "eval.encoder_q"
	}
	return false, false
}

// A case that asks for what is not known here fails.
func TestGoldenCasesAreReadWhole(t *testing.T) {
	const text = `{"name": "x", "encoder": {"arch": "resnet18"}, "moco": {"mechanism": "moco"}, "optimizer": {"lr": [1]%s}}`
	if _, err := parseCase(fmt.Appendf(nil, text, "")); err != nil {
		t.Error(err)
	}
	if _, err := parseCase(fmt.Appendf(nil, text, `, "nesterov": true`)); err == nil || !strings.Contains(err.Error(), "nesterov") {
		t.Errorf("got %v, want an error about nesterov", err)
	}
}
