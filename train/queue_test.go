package train

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"mocostream/augment"
	"mocostream/internal/safetensors"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// TestReplaceRows compares many steps of the queue with a ring written down row by row.
func TestReplaceRows(t *testing.T) {
	const dim = 3
	backend := goBackend(t)
	for _, c := range []struct{ k, b int }{{7, 3}, {7, 5}, {6, 4}, {8, 4}, {5, 5}, {5, 4}, {16, 1}, {9, 2}} {
		t.Run(fmt.Sprintf("K=%d/B=%d", c.k, c.b), func(t *testing.T) {
			ours := moco{&Trainer{backend: backend}}
			exec, err := graph.NewExec(backend.Backend, func(queue, keys, at *Node) *Node {
				return ours.replaceRows(queue, keys, at)
			})
			if err != nil {
				t.Fatal(err)
			}
			defer exec.Finalize()
			ring, queue := make([]float32, c.k*dim), make([]float32, c.k*dim)
			pointer, next := 0, float32(1)
			for step := range 3*c.k/c.b + 3 {
				keys := make([]float32, c.b*dim)
				for i := range keys {
					keys[i] = next
					next++
				}
				for row := range c.b {
					copy(ring[(pointer+row)%c.k*dim:][:dim], keys[row*dim:])
				}
				out, err := exec.Call(
					tensors.FromFlatDataAndDimensions(queue, c.k, dim),
					tensors.FromFlatDataAndDimensions(keys, c.b, dim),
					tensors.FromScalar(int32(pointer)),
				)
				if err != nil {
					t.Fatal(err)
				}
				queue = tensors.MustCopyFlatData[float32](out[0])
				if !slices.Equal(queue, ring) {
					t.Fatalf("step %d, pointer %d: %v, want %v", step, pointer, queue, ring)
				}
				pointer = (pointer + c.b) % c.k
			}
		})
	}
}

// updating claims the operation that the Go backend lacks, so that a graph that would use it cannot be built.
type updating struct{ compute.Backend }

func (u updating) Capabilities() compute.Capabilities {
	c := u.Backend.Capabilities()
	c.Operations = maps.Clone(c.Operations)
	c.Operations[compute.OpTypeDynamicUpdateSlice] = true
	return c
}

// The update in place serves batches that never pass the queue's end: a pointer that another size of batch left between
// two places, until then or after, takes the way around.
func TestRaggedQueuesAreNotUpdatedInPlace(t *testing.T) {
	inPlace := func(trainer *Trainer) bool {
		trainer.backend = &Backend{Backend: updating{trainer.backend.Backend}, Config: goConfig}
		trainer.discard()
		err := trainer.Compile()
		if err != nil && !strings.Contains(err.Error(), "DynamicUpdateSlice") {
			t.Fatal(err)
		}
		return err != nil
	}
	pointed := func(k int, at int64) *Trainer {
		o := tiny()
		o.K = k
		trainer := newTrainer(t, o)
		c := checkpointOf(t, trainer)
		edit(c, pointerName, func(s *safetensors.Tensor) { *s = safetensors.FromInt64s(s.Name, s.Shape, []int64{at}) })
		if err := trainer.Compile(); err != nil {
			t.Fatal(err)
		}
		if err := trainer.Restore(c); err != nil {
			t.Fatal(err)
		}
		if ragged := at%4 != 0; (trainer.exec == nil) != ragged {
			t.Errorf("K %d, pointer %d: the step that was compiled before is kept: %v", k, at, trainer.exec != nil)
		}
		return trainer
	}
	for _, c := range []struct {
		k    int
		at   int64
		want bool
	}{{8, 0, true}, {8, 4, true}, {8, 6, false}, {8, 1, false}, {6, 0, false}, {6, 4, false}, {6, 2, false}} {
		if got := inPlace(pointed(c.k, c.at)); got != c.want {
			t.Errorf("K %d, pointer %d: updated in place: %v, want %v", c.k, c.at, got, c.want)
		}
	}
	again := pointed(8, 6)
	if _, err := again.InitFrom(foreign(t, "", true)); err != nil {
		t.Fatal(err)
	}
	if !inPlace(again) {
		t.Error("a fresh queue is not updated in place")
	}
}

// TestStepEnqueuesKeys follows the queue of a trainer: after every step the batch's keys, in the batch's order, stand
// where the pointer was, and nothing else has changed.
func TestStepEnqueuesKeys(t *testing.T) {
	for _, k := range []int{4, 6, 8} {
		t.Run(fmt.Sprintf("K=%d", k), func(t *testing.T) {
			o := tiny()
			o.K = k
			trainer := newTrainer(t, o)
			trainer.traced = true
			batches := input{images: 12}.open(t)
			dim := o.Encoder.Dim
			ring, err := trainer.floats(queueName)
			if err != nil {
				t.Fatal(err)
			}
			for step := range 5 {
				keys := tracedKeys(t, trainer, <-batches)
				for row := range o.Batch {
					copy(ring[(step*o.Batch+row)%k*dim:][:dim], keys[row*dim:])
				}
				got, err := trainer.floats(queueName)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, ring) {
					t.Fatalf("step %d: %v, want %v", step, got, ring)
				}
				at, err := trainer.variable(pointerName).Value()
				if err != nil {
					t.Fatal(err)
				}
				if want := (step + 1) * o.Batch % k; tensors.ToScalar[int32](at) != int32(want) {
					t.Errorf("step %d: the pointer is at %v, want %d", step, at, want)
				}
			}
		})
	}
}

// tracedKeys takes one step and returns the keys that it encoded.
func tracedKeys(t *testing.T, trainer *Trainer, b augment.Batch) []float32 {
	t.Helper()
	defer b.Release()
	if err := trainer.Compile(); err != nil {
		t.Fatal(err)
	}
	o := trainer.Options()
	views := func(pixels []byte) *tensors.Tensor {
		return tensors.FromFlatDataAndDimensions(slices.Clone(pixels), o.Batch, o.Size, o.Size, 3)
	}
	out, err := trainer.execute([]any{views(b.Query()), views(b.Key()), trainer.order()}, .1)
	if err != nil {
		t.Fatal(err)
	}
	return tensors.MustCopyFlatData[float32](out[2])
}
