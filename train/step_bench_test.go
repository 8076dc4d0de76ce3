package train

import (
	"fmt"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
)

// BenchmarkStep times optimisation steps of the demo's encoder and of ResNet-18 on the Go backend.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		arch   string
		groups int
	}{{"resnet10", 1}, {"resnet18", 4}} {
		b.Run(fmt.Sprintf("%s/groups=%d", c.arch, c.groups), func(b *testing.B) { benchmarkStep(b, c.arch, c.groups) })
	}
}

func benchmarkStep(b *testing.B, arch string, groups int) {
	backend, err := OpenBackend("go")
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Finalize()
	t, err := New(backend, Options{
		Encoder:   EncoderOptions{Arch: arch, Width: 16, Stem: "cifar", Head: "linear", Dim: 128, Activation: "relu"},
		Mechanism: MoCo, Size: 32, Batch: 64, K: 4096, M: .99, T: .1, Groups: groups, Std: [3]float32{1, 1, 1},
		Optimizer: OptimizerOptions{Name: "sgd", Momentum: .9}, Schedule: ScheduleOptions{Name: "constant", Base: .01},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer t.Close()
	if err := t.Compile(); err != nil {
		b.Fatal(err)
	}
	views := func() *tensors.Tensor { return tensors.FromShape(shapes.Make(dtypes.Uint8, 64, 32, 32, 3)) }
	for b.Loop() {
		if _, err := t.execute([]any{views(), views(), t.order()}, .01); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(64*float64(b.N)/b.Elapsed().Seconds(), "images/s")
}
