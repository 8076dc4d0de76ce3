package sink

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/train"
)

// An export read back has the tensors that were written, by a checkpoint's names, of the encoder that it holds.
func TestReadExport(t *testing.T) {
	ck := trained(small())
	o := imagenet
	for name, c := range map[string]struct {
		full           bool
		written, asked string
		which          string
		tensors        func(name string) bool // of the checkpoint
	}{
		"query":       {written: "q", asked: "q", which: "q", tensors: func(n string) bool { return ofBackbone(n, "encoder_q.") }},
		"key":         {written: "k", asked: "k", which: "k", tensors: func(n string) bool { return ofBackbone(n, "encoder_k.") }},
		"only key":    {written: "k", asked: "q", which: "k", tensors: func(n string) bool { return ofBackbone(n, "encoder_k.") }},
		"key of full": {full: true, written: "q", asked: "k", which: "k", tensors: func(string) bool { return true }},
	} {
		dir := t.TempDir()
		o.Full, o.Encoder = c.full, c.written
		if IsExport(dir) {
			t.Errorf("%s: an empty folder is an export", name)
		}
		if err := Export(dir, ck, o); err != nil {
			t.Fatal(err)
		}
		got, which, err := ReadExport(dir, c.asked)
		if err != nil || !IsExport(dir) {
			t.Fatalf("%s: %v", name, err)
		}
		if which != c.which || got.Encoder != ck.Encoder || got.Step != ck.Step {
			t.Errorf("%s: encoder %s, %+v of step %d", name, which, got.Encoder, got.Step)
		}
		if got.Config["train.arch"] != "resnet10" || got.Config["train.width"] != "8" || got.Config["augment.size"] != "64" || got.Config["augment.mean"] != "[0.485,0.456,0.406]" {
			t.Errorf("%s: configuration %v", name, got.Config)
		}
		var names, want []string
		for _, tensor := range got.Model {
			names = append(names, tensor.Name)
		}
		for _, tensor := range ck.Model {
			if c.tensors(tensor.Name) {
				want = append(want, tensor.Name)
			}
		}
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("%s: %d tensors, want %d", name, len(names), len(want))
		}
	}
}

func ofBackbone(name, prefix string) bool {
	return strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, prefix+"fc.")
}

// Features of an export are those of its checkpoint; projections it has none.
func TestExportEmbedsAsItsCheckpoint(t *testing.T) {
	ck := trained(small())
	dir := t.TempDir()
	if err := Export(dir, ck, imagenet); err != nil {
		t.Fatal(err)
	}
	export, which, err := ReadExport(dir, "q")
	if err != nil {
		t.Fatal(err)
	}
	backend, err := train.OpenBackend("go")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	pixels := make([]byte, 2*8*8*3)
	for i := range pixels {
		pixels[i] = byte(i * 37)
	}
	var features [2][]float32
	for i, c := range []*train.Checkpoint{ck, export} {
		e, err := train.NewEmbedderFrom(backend, train.EmbedderOptions{Encoder: c.Encoder, Size: 8, Batch: 2, Mean: imagenet.Mean, Std: imagenet.Std}, c, which)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		var projections []float32
		if features[i], projections, err = e.Embed(t.Context(), pixels); err != nil {
			t.Fatal(err)
		}
		if e.HasHead() != (i == 0) || len(projections) != map[bool]int{true: 2 * c.Encoder.Dim, false: 0}[i == 0] {
			t.Errorf("head %v, %d projections", e.HasHead(), len(projections))
		}
		if err := e.Estimate(t.Context(), once(pixels)); err != nil {
			t.Error(err)
		}
		if running, err := e.Running(); err != nil || len(running) == 0 {
			t.Errorf("%d statistics, %v", len(running), err)
		}
	}
	if len(features[0]) == 0 || !slices.Equal(features[0], features[1]) {
		t.Error("the export's features are not those of the checkpoint")
	}
}

// once gives x and then nothing.
func once(x []byte) func() ([]byte, error) {
	return func() ([]byte, error) { now := x; x = nil; return now, nil }
}

func TestReadExportRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := Export(dir, trained(small()), imagenet); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadExport(dir, "k"); err == nil || !strings.Contains(err.Error(), "is of the query encoder; export it with --encoder k") {
		t.Errorf("the key encoder of a query encoder's export: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, modelFile), 100); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadExport(dir, "q"); err == nil || !strings.Contains(err.Error(), modelFile) {
		t.Errorf("cut short: %v", err)
	}
	for content, want := range map[string]bool{`{"format": "timm"}`: false, `{`: false, `{"format": "mocostream"}`: true} {
		if err := os.WriteFile(filepath.Join(dir, exportConfigFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if IsExport(dir) != want {
			t.Errorf("%s is an export: %v", content, !want)
		}
	}
}
