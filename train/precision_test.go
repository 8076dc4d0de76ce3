package train

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
)

func TestPrecisionIsRefused(t *testing.T) {
	for precision, want := range map[Precision]string{
		"f16":    `unknown precision "f16"; use f32 or bf16`,
		BFloat16: "precision bf16 needs XLA",
	} {
		o := tiny()
		o.Precision = precision
		trainer, err := New(goBackend(t), o)
		if err == nil {
			trainer.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", precision, err, want)
		}
	}
}

// small is the default step at a size that a CPU compiles in seconds, with enough pixels in a BatchNorm group that rounding
// stays rounding.
func small() Options {
	o := tiny()
	o.Encoder = EncoderOptions{Arch: "resnet10", Width: 8, Stem: "cifar", Head: "mlp", Dim: 16, Activation: "relu"}
	o.Size, o.Batch, o.K, o.Groups = 32, 32, 64, 2
	o.M = .99
	return o
}

// TestXLABFloat16 holds steps in bfloat16 against the same in float32: losses within 1e-2, first gradients in the same
// direction.
func TestXLABFloat16(t *testing.T) {
	const count = 5
	backend := xlaBackend(t, 1)
	var losses [2][]float64
	var gradients [2][]float32
	for i, precision := range []Precision{Float32, BFloat16} {
		o := small()
		o.Precision = precision
		trainer := tracedTrainer(t, backend, o)
		gradients[i] = firstGradient(t, trainer)
		for _, r := range noiseSteps(t, trainer, count) {
			losses[i] = append(losses[i], r.Loss)
		}
	}
	for step := range count {
		full, half := losses[0][step], losses[1][step]
		if d := math.Abs(half - full); !(d <= 1e-2*math.Max(full, 1)) {
			t.Errorf("step %d: loss %v in bf16, %v in f32", step+1, half, full)
		}
	}
	if slices.Equal(losses[0], losses[1]) {
		t.Error("the losses in bf16 are those in f32: it was not used")
	}
	similarity := cosine(gradients[0], gradients[1])
	if !(similarity > .99) {
		t.Errorf("the first gradients' cosine similarity is %v", similarity)
	}
	t.Logf("losses %v and %v, gradients' cosine similarity %.5f", losses[0], losses[1], similarity)
}

// tracedTrainer is a trainer whose step returns the gradients too.
func tracedTrainer(t *testing.T, backend *Backend, o Options) *Trainer {
	t.Helper()
	trainer, err := New(backend, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(trainer.Close)
	trainer.traced = true
	return trainer
}

// firstGradient takes a step and returns all its gradients, one after another.
func firstGradient(t *testing.T, trainer *Trainer) []float32 {
	t.Helper()
	if err := trainer.Compile(); err != nil {
		t.Fatal(err)
	}
	batch := noiseBatch(t, trainer.options, 99)
	defer batch.Release()
	o := trainer.options
	pixels := func(x []byte) *tensors.Tensor {
		return tensors.FromFlatDataAndDimensions(x, o.Batch, o.Size, o.Size, 3)
	}
	outputs, err := trainer.execute([]any{pixels(slices.Clone(batch.Query())), pixels(slices.Clone(batch.Key())), trainer.order()}, .03)
	if err != nil {
		t.Fatal(err)
	}
	var all []float32
	for _, g := range outputs[4:] {
		all = append(all, tensors.MustCopyFlatData[float32](g)...)
	}
	return all
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}
