package train

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"mocostream/internal/safetensors"

	"github.com/gomlx/gomlx/core/tensors"
)

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// randomUnits draws n vectors of length 1 and dim numbers.
func randomUnits(rng *rand.Rand, n, dim int) []float32 {
	values := make([]float32, n*dim)
	for row := range n {
		randomUnit(rng, values[row*dim:(row+1)*dim])
	}
	return values
}

func randomUnit(rng *rand.Rand, row []float32) {
	var sum float64
	for i := range row {
		row[i] = float32(rng.NormFloat64())
		sum += float64(row[i]) * float64(row[i])
	}
	for i := range row {
		row[i] /= float32(math.Sqrt(sum))
	}
}

// batchesTracked is torch's BatchNorm counter, which checkpoints carry and nothing reads.
const batchesTracked = "num_batches_tracked"

// State copies weights, queue and optimizer to the host, under the names that Checkpoint documents.
func (t *Trainer) State() (weights, optimizer []safetensors.Tensor, err error) {
	if weights, err = t.Weights(); err != nil {
		return nil, nil, err
	}
	optimizer, err = t.optimizerState()
	return weights, optimizer, err
}

// Weights copies the encoders and the queue or bank to the host: a Checkpoint's Model.
func (t *Trainer) Weights() ([]safetensors.Tensor, error) {
	var weights []safetensors.Tensor
	for _, encoder := range t.encoders() {
		list, err := t.encoderState(encoder)
		if err != nil {
			return nil, err
		}
		weights = append(weights, list...)
	}
	if t.options.Align.on() {
		list, err := t.predictorState()
		if err != nil {
			return nil, err
		}
		weights = append(weights, list...)
	}
	kept, err := t.mechanism.state()
	return append(weights, kept...), err
}

func (t *Trainer) optimizerState() ([]safetensors.Tensor, error) {
	slots, err := t.options.Optimizer.slots()
	if err != nil {
		return nil, err
	}
	var list []safetensors.Tensor
	for _, slot := range slots {
		for _, w := range t.weights {
			tensor, err := t.read(w.slot(slot), slot+"."+w.tensor(), w.Shape)
			if err != nil {
				return nil, err
			}
			list = append(list, tensor)
		}
	}
	return list, nil
}

// encoderState lists an encoder's tensors in torchvision's order, num_batches_tracked after each running_var.
func (t *Trainer) encoderState(encoder string) ([]safetensors.Tensor, error) {
	var list []safetensors.Tensor
	for _, p := range t.parameters {
		tensor, err := t.read(encoder+"/"+p.Name, encoder+"."+p.Name, p.Shape)
		if err != nil {
			return nil, err
		}
		list = append(list, tensor)
		if p.Kind == RunningVariance {
			name := strings.TrimSuffix(tensor.Name, "running_var") + batchesTracked
			list = append(list, safetensors.FromInt64s(name, []int{}, []int64{t.done - t.discards.Total}))
		}
	}
	return list, nil
}

func (t *Trainer) read(variable, name string, shape []int) (safetensors.Tensor, error) {
	values, err := t.floats(variable)
	if err != nil {
		return safetensors.Tensor{}, err
	}
	return safetensors.FromFloat32s(name, shape, values), nil
}

// floats copies a variable to the host: a variable's own tensor is gone after the next step.
func (t *Trainer) floats(variable string) ([]float32, error) {
	value, err := t.variable(variable).Value()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", variable, err)
	}
	return tensors.CopyFlatData[float32](value)
}

// NotFinite names the first tensor with a number that is none; "" if there is no such.
func NotFinite(list []safetensors.Tensor) string {
	const exponent = 0x7f800000 // all ones: infinite or no number
	for _, tensor := range list {
		if tensor.DType != "F32" {
			continue
		}
		for at := 0; at < len(tensor.Data); at += 4 {
			if binary.LittleEndian.Uint32(tensor.Data[at:])&exponent == exponent {
				return tensor.Name
			}
		}
	}
	return ""
}

// transposed turns [rows, cols] into [cols, rows].
func transposed(x []float32, rows, cols int) []float32 {
	y := make([]float32, len(x))
	for r := range rows {
		for c := range cols {
			y[c*rows+r] = x[r*cols+c]
		}
	}
	return y
}

// Restore puts the trainer where the checkpoint was taken. Every tensor must be there in its shape; an error names the
// first that is not and leaves the trainer unusable.
func (t *Trainer) Restore(c *Checkpoint) error {
	if c.Encoder != t.options.Encoder {
		return fmt.Errorf("checkpoint holds a %s, the configuration asks for a %s; change train.arch, width, stem, head, dim and activation back, or another sink.dir",
			c.Encoder, t.options.Encoder)
	}
	have := byName(slices.Concat(c.Model, c.Optimizer))
	for _, encoder := range t.mechanism.encoders() {
		if err := t.load(encoder, t.parameters, have, func(p Parameter) string { return encoder + "." + p.Name }); err != nil {
			return err
		}
	}
	if t.options.Align.on() {
		if err := t.restoreAlignment(have); err != nil {
			return err
		}
	}
	slots, err := t.options.Optimizer.slots()
	if err != nil {
		return err
	}
	for _, slot := range slots {
		for _, w := range t.weights {
			if w.encoder == predictor && !alignedIn(have) {
				continue // new
			}
			if err := t.write(w.slot(slot), have, slot+"."+w.tensor(), w.Shape); err != nil {
				return err
			}
		}
	}
	if t.discards, err = discardsOf(c); err != nil {
		return err
	}
	t.done = c.Step
	return t.mechanism.restore(have)
}

func (t *Trainer) load(encoder string, parameters []Parameter, have map[string]safetensors.Tensor, name func(Parameter) string) error {
	for _, p := range parameters {
		if err := t.write(encoder+"/"+p.Name, have, name(p), p.Shape); err != nil {
			return err
		}
	}
	return nil
}

func (t *Trainer) write(variable string, have map[string]safetensors.Tensor, name string, shape []int) error {
	values, err := floatsOf(have, name, shape)
	if err != nil {
		return err
	}
	return t.create(variable, values, shape...)
}

// floatsOf returns tensor name of the given shape.
func floatsOf(have map[string]safetensors.Tensor, name string, shape []int) ([]float32, error) {
	tensor, ok := have[name]
	if !ok {
		return nil, fmt.Errorf("checkpoint: tensor %s is missing", name)
	}
	if !slices.Equal(tensor.Shape, shape) {
		return nil, fmt.Errorf("checkpoint: tensor %s has shape %v, expected %v", name, tensor.Shape, shape)
	}
	return safetensors.Float32s(tensor)
}

func byName(list []safetensors.Tensor) map[string]safetensors.Tensor {
	m := make(map[string]safetensors.Tensor, len(list))
	for _, t := range list {
		m[t.Name] = t
	}
	return m
}

// String says the architecture in words, for errors.
func (o EncoderOptions) String() string {
	return fmt.Sprintf("%s (width %d, %s stem, %s head, dim %d, %s)", o.Arch, o.Width, o.Stem, o.Head, o.Dim, o.Activation)
}
