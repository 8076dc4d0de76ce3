package train

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/safetensors"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
)

// smooth is tiny without kinks, so that runs that round differently stay together.
func smooth(mechanism Mechanism) Options {
	o := tiny()
	o.Encoder.Activation, o.Encoder.Head = "silu", "linear"
	o.Mechanism, o.Size, o.Batch, o.K, o.T = mechanism, 16, 16, 48, .5
	o.Bank = BankOptions{Rows: &Rows{starts: []int64{20}}, Momentum: .5}
	return o
}

// restored is a traced trainer that starts where c was taken.
func restored(t *testing.T, o Options, c *Checkpoint) *Trainer {
	t.Helper()
	trainer := newTrainer(t, o)
	trainer.traced = true
	if c != nil {
		if err := trainer.Restore(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := trainer.Compile(); err != nil {
		t.Fatal(err)
	}
	return trainer
}

// traced takes a step on the given values of its arguments and returns loss, q, k, logits, and the gradients.
func traced(t *testing.T, trainer *Trainer, values map[string]any) [][]float32 {
	t.Helper()
	var arguments []any
	for _, a := range trainer.arguments() {
		switch value := values[a.name].(type) {
		case []byte:
			arguments = append(arguments, tensors.FromFlatDataAndDimensions(slices.Clone(value), a.shape.Dimensions...))
		case []int32:
			arguments = append(arguments, tensors.FromFlatDataAndDimensions(slices.Clone(value), a.shape.Dimensions...))
		default:
			t.Fatalf("no value for %s", a.name)
		}
		if a.shape.DType != dtypes.Uint8 && a.shape.DType != dtypes.Int32 {
			t.Fatalf("%s is %s", a.name, a.shape)
		}
	}
	outputs, err := trainer.execute(arguments, .02)
	if err != nil {
		t.Fatal(err)
	}
	found := make([][]float32, len(outputs))
	for i, output := range outputs {
		found[i] = tensors.MustCopyFlatData[float32](output)
	}
	return found
}

// viewsOf are the views of a batch that is drawn from seed.
func viewsOf(t *testing.T, o Options, seed uint64) (query, key []byte) {
	t.Helper()
	b := noiseBatch(t, o, seed)
	defer b.Release()
	return slices.Clone(b.Query()), slices.Clone(b.Key())
}

// A symmetric step is the two steps that take each view as the query, from the same weights: loss and gradients are the
// sums. Its queue holds the keys of the first views, then those of the second, and the key encoder has moved once.
func TestSymmetricStepIsBothDirections(t *testing.T) {
	for _, mechanism := range []Mechanism{MoCo, EndToEnd} {
		t.Run(string(mechanism), func(t *testing.T) {
			o := smooth(mechanism)
			o.Groups = 2
			start := newTrainer(t, o)
			for seed := range uint64(2) {
				if _, err := start.Step(t.Context(), noiseBatch(t, o, seed)); err != nil {
					t.Fatal(err)
				}
			}
			from := checkpointOf(t, start)
			one, other := viewsOf(t, o, 9)
			values := func(query, key []byte) map[string]any {
				return map[string]any{queryArgument: query, keyArgument: key, orderArgument: []int32{3, 1, 7, 0, 2, 5, 6, 4, 11, 9, 15, 8, 10, 13, 14, 12}}
			}
			first := traced(t, restored(t, o, from), values(one, other))
			second := traced(t, restored(t, o, from), values(other, one))
			o.Symmetric = true
			both := restored(t, o, from)
			got := traced(t, both, values(one, other))
			nearly(t, "loss", got[0][reportLoss:][:1], []float32{first[0][reportLoss] + second[0][reportLoss]}, 1e-6)
			nearly(t, "positive", got[0][reportPositive:][:1], []float32{(first[0][reportPositive] + second[0][reportPositive]) / 2}, 1e-6)
			nearly(t, "keys", got[2], slices.Concat(first[2], second[2]), 1e-6)
			for i := range both.weights {
				want := slices.Clone(first[4+i])
				for j, x := range second[4+i] {
					want[j] += x
				}
				nearly(t, "gradient of "+both.weights[i].tensor(), got[4+i], want, 1e-4)
			}
			if mechanism == MoCo {
				queue, err := both.floats(queueName)
				if err != nil {
					t.Fatal(err)
				}
				fresh := slices.Concat(queue[2*o.Batch*o.Encoder.Dim:], queue[:o.Batch*o.Encoder.Dim]) // from row 32 of 48 on
				nearly(t, "queue", fresh, slices.Concat(second[2], first[2]), 1e-6)
			}
		})
	}
}

// A batch in parts, each with its BatchNorm groups, comes to what the batch does with the groups of all parts: one update
// of weights and key encoder, one enqueue.
func TestPartsComeToTheBatch(t *testing.T) {
	for _, c := range []struct {
		mechanism     Mechanism
		symmetric     bool
		parts, groups int
	}{{MoCo, false, 2, 1}, {MoCo, false, 2, 2}, {MoCo, true, 2, 1}, {MoCo, false, 4, 1}, {MemoryBank, false, 2, 2}} {
		t.Run(fmt.Sprintf("%s/%v/%d parts of %d", c.mechanism, c.symmetric, c.parts, c.groups), func(t *testing.T) {
			o := smooth(c.mechanism)
			o.Symmetric, o.Groups = c.symmetric, c.parts*c.groups
			whole := restored(t, o, nil)
			o.Accumulate, o.Groups = c.parts, c.groups
			parts := restored(t, o, nil)
			var want, got [][]float32
			for step := range uint64(3) {
				query, key := viewsOf(t, o, step)
				order := parts.order()
				values := map[string]any{queryArgument: query, keyArgument: key, orderArgument: order, indexArgument: []int32{3, 1, 9, 2, 0, 4, 7, 8, 19, 18, 17, 16, 11, 10, 5, 6}}
				if c.mechanism == MemoryBank {
					values[negativesArgument] = memoryBank{parts}.negatives()
				}
				got = traced(t, parts, values)
				values[orderArgument] = throughout(order, len(order)/c.parts)
				want = traced(t, whole, values)
				nearly(t, "loss", got[0][reportLoss:][:1], want[0][reportLoss:][:1], 1e-6)
				nearly(t, "gradient norm", got[0][reportGradNorm:], want[0][reportGradNorm:], 1e-5)
			}
			nearly(t, "queries", got[1], want[1], 1e-5)
			sameButRunning(t, checkpointOf(t, parts), checkpointOf(t, whole))
		})
	}
}

// throughout numbers the images of a batch where order numbers those of each part.
func throughout(order []int32, part int) []int32 {
	whole := slices.Clone(order)
	for i := range whole {
		whole[i] += int32(i / part * part)
	}
	return whole
}

// sameButRunning compares all tensors but BatchNorm's running statistics, which every part moves.
func sameButRunning(t *testing.T, got, want *Checkpoint) {
	t.Helper()
	have := byName(slices.Concat(got.Model, got.Optimizer))
	compared := 0
	for _, w := range slices.Concat(want.Model, want.Optimizer) {
		expected, err := safetensors.Float32s(w)
		if err != nil || slices.ContainsFunc([]string{"running_mean", "running_var"}, func(s string) bool { return strings.HasSuffix(w.Name, s) }) {
			continue
		}
		values, err := safetensors.Float32s(have[w.Name])
		if err != nil {
			t.Fatal(err)
		}
		nearly(t, w.Name, values, expected, 1e-5)
		compared++
	}
	if compared < 30 {
		t.Errorf("%d tensors were compared", compared)
	}
}

// Each part's keys are shuffled within the part, by seed and step.
func TestOrderOfParts(t *testing.T) {
	o := smooth(MoCo)
	o.Accumulate = 2
	trainer := newTrainer(t, o)
	order := trainer.order()
	for i, part := range [][]int32{order[:8], order[8:]} {
		sorted := slices.Clone(part)
		slices.Sort(sorted)
		if !slices.Equal(sorted, []int32{0, 1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("part %d is encoded in the order %v", i, part)
		}
	}
	if !slices.Equal(order, trainer.order()) {
		t.Error("the order of a step changes")
	}
}

// Batches in parts go through Step as others do.
func TestStepInParts(t *testing.T) {
	o := tiny()
	o.Symmetric, o.Accumulate, o.Groups, o.K = true, 2, 1, 10
	trainer := newTrainer(t, o)
	r := steps(t, trainer, input{images: 10}.open(t), 3)
	if r.Step != 3 || !finite(r.Loss) || r.Loss == 0 || r.QueueAge <= 0 {
		t.Errorf("%+v", r)
	}
	at, err := trainer.variable(pointerName).Value()
	if err != nil || tensors.ToScalar[int32](at) != 3*8%10 {
		t.Errorf("the pointer is at %v (%v), want %d", at, err, 3*8%10)
	}
}
