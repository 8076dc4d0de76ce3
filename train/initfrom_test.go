package train

import (
	"slices"
	"strings"
	"testing"

	"mocostream/internal/safetensors"
)

// foreign are the weights of a trained encoder under names with a prefix, head included or not.
func foreign(t *testing.T, prefix string, head bool) []safetensors.Tensor {
	t.Helper()
	o := tiny()
	o.Seed = 99
	trainer := newTrainer(t, o)
	steps(t, trainer, input{images: 10}.open(t), 2)
	var list []safetensors.Tensor
	for _, tensor := range checkpointOf(t, trainer).Model {
		name, ok := strings.CutPrefix(tensor.Name, "encoder_q.")
		if ok && (head || !strings.HasPrefix(name, "fc.")) {
			tensor.Name = prefix + name
			list = append(list, tensor)
		}
	}
	return list
}

func TestInitFromKnowsTheNamesInUse(t *testing.T) {
	backbone := 0
	for _, p := range tiny().Encoder.Parameters() {
		if !strings.HasPrefix(p.Name, "fc.") {
			backbone++
		}
	}
	head := []string{"fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"}
	all := len(tiny().Encoder.Parameters())
	decoy := func(prefix string) safetensors.Tensor { // of the key encoder: never taken
		return safetensors.FromFloat32s(prefix+"conv1.weight", []int{1}, []float32{0})
	}
	for name, c := range map[string]struct {
		weights         []safetensors.Tensor
		loaded          int
		missing, unused []string
	}{
		"an export": {foreign(t, "", false), backbone, head, nil},
		"torchvision's": {
			append(foreign(t, "", false), safetensors.FromFloat32s("fc.weight", []int{2, 32}, make([]float32, 64)),
				safetensors.FromFloat32s("fc.bias", []int{2}, make([]float32, 2))),
			backbone, head, []string{"fc.bias", "fc.weight"},
		},
		"our checkpoint":    {append(foreign(t, "encoder_q.", true), decoy("encoder_k.")), all, nil, nil},
		"MoCo's on GPUs":    {append(foreign(t, "module.encoder_q.", true), decoy("module.encoder_k.")), all, nil, nil},
		"the whole of ours": {foreign(t, "", true), all, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			trainer := newTrainer(t, tiny())
			before := checkpointOf(t, trainer)
			report, err := trainer.InitFrom(c.weights)
			if err != nil {
				t.Fatal(err)
			}
			if report.Loaded != c.loaded || !slices.Equal(report.Missing, c.missing) || !slices.Equal(report.Unused, c.unused) {
				t.Errorf("%+v, want %d loaded, %v missing, %v unused", report, c.loaded, c.missing, c.unused)
			}
			checkInitialised(t, trainer, before, stripPrefix(c.weights), c.missing)
		})
	}
}

// checkInitialised asks that both encoders hold the weights, what was missing its random start, the queue its own.
func checkInitialised(t *testing.T, trainer *Trainer, before *Checkpoint, weights map[string]safetensors.Tensor, missing []string) {
	t.Helper()
	after := checkpointOf(t, trainer)
	for _, p := range trainer.parameters {
		from, name := weights, p.Name
		if slices.Contains(missing, p.Name) {
			from, name = byName(before.Model), "encoder_q."+p.Name
		}
		want, err := safetensors.Float32s(from[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, encoder := range []string{"encoder_q.", "encoder_k."} {
			if got := tensorValues(t, after.Model, encoder+p.Name); !slices.Equal(got, want) {
				t.Errorf("%s%s differs from the file", encoder, p.Name)
			}
		}
	}
	if !slices.Equal(tensorValues(t, after.Model, "queue"), tensorValues(t, before.Model, "queue")) {
		t.Error("the queue is not a fresh one")
	}
	steps(t, trainer, input{images: 10}.open(t), 1)
}

// The queue of a trainer that has made steps starts anew.
func TestInitFromResetsTheQueue(t *testing.T) {
	trainer := newTrainer(t, tiny())
	want := tensorValues(t, checkpointOf(t, trainer).Model, "queue")
	weights := foreign(t, "", true)
	steps(t, trainer, input{images: 10}.open(t), 1)
	if _, err := trainer.InitFrom(weights); err != nil {
		t.Fatal(err)
	}
	c := checkpointOf(t, trainer)
	if !slices.Equal(tensorValues(t, c.Model, "queue"), want) {
		t.Error("old keys are still in the queue")
	}
	if at, err := safetensors.Int64s(byName(c.Model)[pointerName]); err != nil || at[0] != 0 {
		t.Errorf("the pointer is at %v (%v), want 0", at, err)
	}
}

func TestInitFromRefuses(t *testing.T) {
	odd := foreign(t, "", true)
	for i := range odd {
		if odd[i].Name == "layer2.0.conv1.weight" {
			odd[i] = safetensors.FromFloat32s(odd[i].Name, []int{16, 8, 3, 3}, make([]float32, 16*8*9))
		}
	}
	for _, c := range []struct {
		weights []safetensors.Tensor
		want    string
	}{
		{odd, "initial weights: layer2.0.conv1.weight has shape [16 8 3 3], this encoder needs [8 4 3 3]; train.arch, width, stem, head or dim differ from the file's"},
		{
			[]safetensors.Tensor{safetensors.FromFloat32s("backbone.conv1.weight", []int{1}, []float32{1})},
			"initial weights: no tensor has a name that a resnet10 knows (such as conv1.weight)",
		},
		{nil, "initial weights: no tensor has a name that a resnet10 knows (such as conv1.weight)"},
		{
			[]safetensors.Tensor{safetensors.FromInt64s("conv1.weight", []int{4, 3, 3, 3}, make([]int64, 4*3*9))},
			"initial weights: ",
		},
	} {
		trainer := newTrainer(t, tiny())
		if _, err := trainer.InitFrom(c.weights); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
