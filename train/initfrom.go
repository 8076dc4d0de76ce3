package train

import (
	"fmt"
	"slices"
	"strings"

	"mocostream/internal/safetensors"
)

// InitReport says what starting from foreign weights did.
type InitReport struct {
	Loaded  int
	Missing []string // of this encoder, left at their random start
	Unused  []string // of the file
}

// InitFrom starts the encoders from weights: an export of ours, torchvision's or timm's names (conv1.weight), or a MoCo
// checkpoint's query encoder (encoder_q.conv1.weight, module.encoder_q.conv1.weight). A key encoder equals the query
// encoder, and queue or bank are fresh. A tensor of a known name and another shape is an error.
func (t *Trainer) InitFrom(weights []safetensors.Tensor) (InitReport, error) {
	var report InitReport
	have := stripPrefix(weights)
	for _, p := range t.parameters {
		tensor, ok := have[p.Name]
		if !ok {
			report.Missing = append(report.Missing, p.Name)
			continue
		}
		delete(have, p.Name)
		if !slices.Equal(tensor.Shape, p.Shape) {
			return report, fmt.Errorf("initial weights: %s has shape %v, this encoder needs %v; train.arch, width, stem, head or dim differ from the file's",
				p.Name, tensor.Shape, p.Shape)
		}
		values, err := safetensors.Float32s(tensor)
		if err != nil {
			return report, fmt.Errorf("initial weights: %w", err)
		}
		for _, encoder := range t.encoders() {
			if err := t.create(encoder+"/"+p.Name, slices.Clone(values), p.Shape...); err != nil {
				return report, err
			}
		}
		report.Loaded++
	}
	for name := range have {
		if !strings.HasSuffix(name, batchesTracked) {
			report.Unused = append(report.Unused, name)
		}
	}
	slices.Sort(report.Unused)
	if report.Loaded == 0 {
		return report, fmt.Errorf("initial weights: no tensor has a name that a %s knows (such as conv1.weight)", t.options.Encoder.Arch)
	}
	return report, t.mechanism.reset()
}

// stripPrefix finds the encoder in the file: with MoCo's prefixes only the query encoder counts.
func stripPrefix(weights []safetensors.Tensor) map[string]safetensors.Tensor {
	for _, prefix := range []string{"module." + queryEncoder + ".", queryEncoder + "."} {
		found := map[string]safetensors.Tensor{}
		for _, w := range weights {
			if name, ok := strings.CutPrefix(w.Name, prefix); ok {
				found[name] = w
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return byName(weights)
}
