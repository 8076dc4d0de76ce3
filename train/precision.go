package train

import (
	"errors"
	"fmt"
)

// Precision is the number format of activations and convolutions, gradients included. Weights, optimizer, queue,
// BatchNorm's arithmetic, head and loss are float32 in each.
type Precision string

// The precisions; "" is Float32.
const (
	Float32  Precision = "f32"
	BFloat16 Precision = "bf16"
)

func (p Precision) validate() error {
	switch p {
	case "", Float32, BFloat16:
		return nil
	}
	return fmt.Errorf("train: unknown precision %q; use f32 or bf16", p)
}

// runsIn says whether the layout's backend computes in this precision.
func (p Precision) runsIn(layout Layout) error {
	if p == BFloat16 && layout == LayoutCHWN {
		return errors.New("train: precision bf16 needs XLA: the Go backend's arithmetic in bfloat16 is slower than in float32; " +
			"set train.precision to f32, or train.backend to xla")
	}
	return nil
}
