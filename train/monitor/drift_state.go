package monitor

import (
	"fmt"
	"slices"
	"strings"

	"mocostream/internal/safetensors"
	"mocostream/train/drift"
)

// DriftState is what of a Drift is not tensors.
type DriftState struct {
	Progress driftProgress `json:"progress"`
	Windows  drift.State   `json:"windows"`
}

// Names of a Drift's tensors.
const (
	encoderPrefix  = "encoder." // the encoder's, as Freeze names them
	referenceName  = "reference"
	windowName     = "window"
	pendingName    = "pending" // pixels
	sourcesOf      = ".sources"
	pixelsOfTensor = "U8"
)

// State copies everything that RestoreDrift goes on from; no tensors where no encoder was taken yet.
func (d *Drift) State() (DriftState, []safetensors.Tensor) {
	s := DriftState{Progress: d.state, Windows: d.windows.State()}
	if d.weights == nil {
		return s, nil
	}
	var all []safetensors.Tensor
	for _, t := range d.weights {
		t.Name = encoderPrefix + t.Name
		all = append(all, t)
	}
	kept, current := d.windows.Sets()
	all = append(all, tensorsOf(referenceName, kept)...)
	all = append(all, tensorsOf(windowName, current)...)
	return s, append(all,
		safetensors.Tensor{Name: pendingName, DType: pixelsOfTensor, Shape: []int{len(d.sources), d.options.Size, d.options.Size, 3}, Data: slices.Clone(d.pixels)},
		sourceTensor(pendingName, d.sources))
}

// RestoreDrift goes on from State. A reference by images of another size, or by another encoder, is of no use: the error
// says so.
func RestoreDrift(o DriftOptions, s DriftState, tensors []safetensors.Tensor) (*Drift, error) {
	d := NewDrift(o)
	if len(tensors) == 0 {
		return d, nil
	}
	d.state = s.Progress
	have := map[string]safetensors.Tensor{}
	for _, t := range tensors {
		if name, ok := strings.CutPrefix(t.Name, encoderPrefix); ok {
			t.Name = name
			d.weights = append(d.weights, t)
			continue
		}
		have[t.Name] = t
	}
	kept, err := setOf(referenceName, have)
	if err != nil {
		return nil, err
	}
	current, err := setOf(windowName, have)
	if err != nil {
		return nil, err
	}
	if d.sources, err = sourcesOfTensor(pendingName, have); err != nil {
		return nil, err
	}
	pending := have[pendingName]
	if want := []int{len(d.sources), o.Size, o.Size, 3}; pending.DType != pixelsOfTensor || !slices.Equal(pending.Shape, want) {
		return nil, fmt.Errorf("images of drift's window: %s %v, expected %s %v", pending.DType, pending.Shape, pixelsOfTensor, want)
	}
	d.pixels = slices.Clone(pending.Data)
	d.windows = drift.Restore(o.Options, s.Windows, kept, current)
	filled := current.Sources
	if d.windows.Taking() {
		filled = kept.Sources
	}
	for _, source := range slices.Concat(filled, d.sources) {
		d.seen[source]++
	}
	if d.encoder, err = o.Open(d.weights); err != nil {
		return nil, fmt.Errorf("open the encoder of drift's reference: %w", err)
	}
	return d, nil
}

func tensorsOf(name string, s *drift.Set) []safetensors.Tensor {
	return []safetensors.Tensor{safetensors.FromFloat32s(name, []int{s.Rows(), s.Dim}, s.X), sourceTensor(name, s.Sources)}
}

func sourceTensor(name string, sources []uint64) safetensors.Tensor {
	numbers := make([]int64, len(sources))
	for i, source := range sources {
		numbers[i] = int64(source)
	}
	return safetensors.FromInt64s(name+sourcesOf, []int{len(numbers)}, numbers)
}

func setOf(name string, have map[string]safetensors.Tensor) (s drift.Set, err error) {
	t := have[name]
	if s.Sources, err = sourcesOfTensor(name, have); err != nil {
		return s, err
	}
	if len(t.Shape) != 2 || t.Shape[0] != len(s.Sources) {
		return s, fmt.Errorf("features of drift's %s: %v for %d images", name, t.Shape, len(s.Sources))
	}
	s.Dim = t.Shape[1]
	if s.X, err = safetensors.Float32s(t); err != nil {
		return s, fmt.Errorf("features of drift's %s: %w", name, err)
	}
	return s, nil
}

func sourcesOfTensor(name string, have map[string]safetensors.Tensor) ([]uint64, error) {
	numbers, err := safetensors.Int64s(have[name+sourcesOf])
	if err != nil {
		return nil, fmt.Errorf("sources of drift's %s: %w", name, err)
	}
	sources := make([]uint64, len(numbers))
	for i, n := range numbers {
		sources[i] = uint64(n)
	}
	return sources, nil
}
