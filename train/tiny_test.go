package train

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"mocostream/augment"
	"mocostream/ingest/ingesttest"
	"mocostream/internal/safetensors"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// tiny are the options of the smallest run that has everything: a queue that batches do not divide, BatchNorm groups, a
// rate that moves, weight decay.
func tiny() Options {
	return Options{
		Encoder:   EncoderOptions{Arch: "resnet10", Width: 4, Stem: "cifar", Head: "mlp", Dim: 8, Activation: "relu"},
		Mechanism: MoCo, Size: 8, Batch: 4, K: 6, M: .9, T: .2, Groups: 2,
		Mean: [3]float32{.4, .5, .6}, Std: [3]float32{.2, .25, .3},
		Optimizer: OptimizerOptions{Name: "sgd", Momentum: .9, WeightDecay: 1e-4},
		Schedule:  ScheduleOptions{Name: "cosine", Base: .05, Warmup: 3, Steps: 100},
		Seed:      7,
	}
}

// tinyBank is tiny with a memory bank of ten images.
func tinyBank() Options {
	o := tiny()
	o.Mechanism = MemoryBank
	o.Bank = BankOptions{Rows: &Rows{starts: []int64{10}}, Momentum: .5}
	return o
}

func tinyAdamW() Options {
	o := tiny()
	o.Optimizer = OptimizerOptions{Name: "adamw", Beta1: .9, Beta2: .999, Epsilon: 1e-8, WeightDecay: .1}
	o.Schedule.Base = .003
	return o
}

func tinyLARS() Options {
	o := tiny()
	o.Optimizer = OptimizerOptions{Name: "lars", Momentum: .9, WeightDecay: 1e-6, ExcludeNormBias: true, ClipNorm: 10}
	o.Schedule.Base = 5
	return o
}

func goBackend(t testing.TB) *Backend {
	t.Helper()
	b, err := OpenBackend("go")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Finalize)
	return b
}

func newTrainer(t testing.TB, o Options) *Trainer {
	t.Helper()
	trainer, err := New(goBackend(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(trainer.Close)
	return trainer
}

// input is the input side of a tiny run: images in memory, the loader and the pool. Every batch must have been released
// by the end of the test, or it fails.
type input struct {
	images  int   // in the source
	bad     []int // those that cannot be decoded
	epochs  int64 // the loader ends after so many; 0: never
	workers int   // of the pool; 0: 1
	size    int   // of a view; 0: tiny's
	batch   int   // 0: tiny's
	start   loader.Token
}

// open starts the input and returns its batches.
func (in input) open(t *testing.T) <-chan augment.Batch {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	pool, err := augment.NewPool(stripes{}, augment.PoolOptions{
		Workers: max(in.workers, 1), Batch: orElse(in.batch, tiny().Batch), Size: orElse(in.size, tiny().Size),
		Seed: 3, Start: in.start, Allocator: mem,
	})
	if err != nil {
		t.Fatal(err)
	}
	load := loader.NewBounded(in.source(t), loader.Options{Seed: 5, Shuffle: true, Epochs: in.epochs, Start: in.start})
	ctx, cancel := context.WithCancel(t.Context())
	samples, batches := make(chan loader.Sample), make(chan augment.Batch)
	ended := make(chan error, 2)
	go func() { ended <- load.Run(ctx, samples) }()
	go func() { ended <- pool.Run(ctx, samples, batches) }()
	t.Cleanup(func() {
		cancel()
		for b := range batches {
			b.Release()
		}
		<-ended
		<-ended
		for s := range samples {
			s.Release()
		}
		mem.AssertSize(t, 0)
	})
	return batches
}

func orElse(v, otherwise int) int {
	if v == 0 {
		return otherwise
	}
	return v
}

func (in input) source(t *testing.T) *ingesttest.FakeBounded {
	partitions := make([][]ingesttest.Sample, in.images)
	for i := range partitions {
		var s ingesttest.Sample
		s.Key = fmt.Sprintf("img/%d", i)
		s.Image = binary.LittleEndian.AppendUint32(nil, uint32(i))
		if slices.Contains(in.bad, i) {
			s.Image = []byte("no image")
		}
		partitions[i] = []ingesttest.Sample{s}
	}
	return ingesttest.NewFakeBounded(t, partitions...)
}

// stripes is a recipe: stripes of the image's own width and colour, and noise of the view's.
type stripes struct{}

func (stripes) Clone() augment.Recipe { return stripes{} }

func (stripes) Views(dst []augment.View, img []byte, rng func(int) *rand.Rand) (uint64, error) {
	if len(img) != 4 {
		return 0, &augment.BadImage{Reason: augment.ReasonTruncated, Detail: "ends early"}
	}
	n := binary.LittleEndian.Uint32(img)
	own := rand.New(rand.NewPCG(1, uint64(n)))
	colour, width := own.Uint32(), own.IntN(4)+1
	for v := range dst {
		noise := rng(v)
		for i := range dst[v].Pix {
			pixel := byte(colour >> (8 * (i % 3)))
			if i/3%dst[v].Size/width%2 == 0 {
				pixel = ^pixel
			}
			dst[v].Pix[i] = pixel ^ byte(noise.Uint32()%32)
		}
	}
	return uint64(n), nil
}

// steps trains on n batches and returns the last result.
func steps(t testing.TB, trainer *Trainer, batches <-chan augment.Batch, n int) (r StepResult) {
	t.Helper()
	for range n {
		b, ok := <-batches
		if !ok {
			t.Fatal("batches ended")
		}
		var err error
		if r, err = trainer.Step(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// checkpointOf is a trainer's state as a checkpoint.
func checkpointOf(t testing.TB, trainer *Trainer) *Checkpoint {
	t.Helper()
	weights, optimizer, err := trainer.State()
	if err != nil {
		t.Fatal(err)
	}
	return &Checkpoint{Step: trainer.Steps(), Encoder: trainer.Options().Encoder, Model: weights, Optimizer: optimizer}
}

// sameTensors asks for equal lists: names, shapes and bits.
func sameTensors(t testing.TB, what string, got, want []safetensors.Tensor) {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%s: %d tensors, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Name != w.Name || g.DType != w.DType || !slices.Equal(g.Shape, w.Shape) || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("%s: %s %s %v differs from %s %s %v", what, g.Name, g.DType, g.Shape, w.Name, w.DType, w.Shape)
		}
	}
}

func sameState(t testing.TB, what string, got, want *Checkpoint) {
	t.Helper()
	if got.Step != want.Step {
		t.Errorf("%s: step %d, want %d", what, got.Step, want.Step)
	}
	sameTensors(t, what, got.Model, want.Model)
	sameTensors(t, what, got.Optimizer, want.Optimizer)
}

// tensorValues returns tensor name of a list.
func tensorValues(t testing.TB, list []safetensors.Tensor, name string) []float32 {
	t.Helper()
	tensor, ok := byName(list)[name]
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	values, err := safetensors.Float32s(tensor)
	if err != nil {
		t.Fatal(err)
	}
	return values
}
