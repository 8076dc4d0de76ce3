package sink

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/safetensors"
	"mocostream/train"
)

func encoder(arch string) train.EncoderOptions {
	return train.EncoderOptions{Arch: arch, Width: 64, Stem: "imagenet", Head: "mlp", Dim: 16, Activation: "relu"}
}

// small is an encoder that torchvision does not have.
func small() train.EncoderOptions {
	return train.EncoderOptions{Arch: "resnet10", Width: 8, Stem: "cifar", Head: "linear", Dim: 16, Activation: "silu"}
}

var imagenet = ExportOptions{Mean: [3]float32{0.485, 0.456, 0.406}, Std: [3]float32{0.229, 0.224, 0.225}, Size: 64}

// trained returns a checkpoint of e whose statistics and biases look used, the two encoders different.
func trained(e train.EncoderOptions) *train.Checkpoint {
	ck := &train.Checkpoint{Step: 40, Encoder: e}
	for i, which := range []string{"encoder_q.", "encoder_k."} {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		for _, p := range e.Parameters() {
			x := p.Initial(uint64(i))
			for j := range x {
				switch p.Kind {
				case train.RunningMean, train.Shift:
					x[j] = float32(rng.NormFloat64()) / 10
				case train.RunningVariance, train.Scale:
					x[j] = 0.5 + rng.Float32()
				}
			}
			ck.Model = append(ck.Model, safetensors.FromFloat32s(which+p.Name, p.Shape, x))
			if p.Kind == train.RunningVariance {
				name := strings.TrimSuffix(which+p.Name, "running_var") + "num_batches_tracked"
				ck.Model = append(ck.Model, safetensors.FromInt64s(name, []int{}, []int64{40}))
			}
		}
	}
	ck.Model = append(ck.Model,
		safetensors.FromFloat32s("queue", []int{e.Dim, 8}, make([]float32, e.Dim*8)),
		safetensors.FromInt64s("queue_ptr", []int{1}, []int64{4}))
	return ck
}

// blank is trained with zeros, for the larger ones.
func blank(e train.EncoderOptions) *train.Checkpoint {
	ck := &train.Checkpoint{Encoder: e}
	for _, p := range e.Parameters() {
		name := "encoder_q." + p.Name
		ck.Model = append(ck.Model, safetensors.FromFloat32s(name, p.Shape, make([]float32, p.Size())))
		if p.Kind == train.RunningVariance {
			name = strings.TrimSuffix(name, "running_var") + "num_batches_tracked"
			ck.Model = append(ck.Model, safetensors.FromInt64s(name, []int{}, []int64{0}))
		}
	}
	return ck
}

// export returns the tensors of an export by name, and its config.json.
func export(t *testing.T, dir string, ck *train.Checkpoint, o ExportOptions) (map[string]safetensors.Tensor, modelConfig) {
	t.Helper()
	if err := Export(dir, ck, o); err != nil {
		t.Fatal(err)
	}
	tensors, meta, err := safetensors.ReadFile(filepath.Join(dir, modelFile))
	if err != nil || meta["format"] != "pt" {
		t.Fatalf("metadata %v, %v", meta, err)
	}
	m := map[string]safetensors.Tensor{}
	for _, ten := range tensors {
		m[ten.Name] = ten
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config modelConfig
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return m, config
}

// The fixture is the state_dict of torchvision 0.29 (names and shapes, without fc).
func TestExportHasTorchvisionsNames(t *testing.T) {
	text, err := os.ReadFile("../train/testdata/torchvision_names.json")
	if err != nil {
		t.Fatal(err)
	}
	var fixture map[string]map[string][]int
	if err := json.Unmarshal(text, &fixture); err != nil {
		t.Fatal(err)
	}
	for arch, features := range map[string]int{"resnet18": 512, "resnet50": 2048, "resnext50_32x4d": 2048} { // train's tests compare them all
		want := fixture[arch]
		dir := t.TempDir()
		tensors, config := export(t, dir, blank(encoder(arch)), imagenet)
		got := map[string][]int{}
		for name, ten := range tensors {
			got[name] = ten.Shape
			if isCount := strings.HasSuffix(name, "num_batches_tracked"); isCount != (ten.DType == "I64") {
				t.Errorf("%s is %s", name, ten.DType)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if shape, ok := got[name]; !ok || !slices.Equal(shape, want[name]) {
				t.Errorf("%s: %s is %v (there: %t), want %v", arch, name, shape, ok, want[name])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d tensors, want %d", arch, len(got), len(want))
		}
		equal(t, "architecture", config.Architecture, arch)
		equal(t, "num_features", config.NumFeatures, features)
		equal(t, "files", folders(t, dir), []string{"config.json", "model.safetensors"})
	}
}

func TestExportConfig(t *testing.T) {
	_, config := export(t, t.TempDir(), blank(encoder("resnet18")), imagenet)
	cfg := config.PretrainedCfg
	equal(t, "mean", cfg.Mean, imagenet.Mean)
	equal(t, "std", cfg.Std, imagenet.Std)
	equal(t, "input_size", cfg.InputSize, [3]int{3, 64, 64})
	equal(t, "pool_size", cfg.PoolSize, [2]int{2, 2})
	equal(t, "crop_pct", cfg.CropPct, 0.875)
	equal(t, "names", config.Names, "torchvision")
	dir := t.TempDir()
	_, config = export(t, dir, trained(small()), imagenet)
	equal(t, "pool_size", config.PretrainedCfg.PoolSize, [2]int{8, 8})
	equal(t, "own keys", []any{config.Format, config.Width, config.Stem, config.Head, config.Dim, config.Activation},
		[]any{"mocostream", 8, "cifar", "linear", 16, "silu"})
	equal(t, "files", folders(t, dir), []string{"config.json", LoaderFile, "model.safetensors"})
}

func TestExportTakesTheEncoderAskedFor(t *testing.T) {
	ck := trained(small())
	for which, o := range map[string]ExportOptions{"encoder_q.": imagenet, "encoder_k.": with(imagenet, func(o *ExportOptions) { o.Encoder = "k" })} {
		tensors, _ := export(t, t.TempDir(), ck, o)
		for _, want := range ck.Model {
			name, ok := strings.CutPrefix(want.Name, which)
			got, exported := tensors[name]
			if !ok || strings.HasPrefix(name, "fc.") {
				continue
			}
			if !exported || !slices.Equal(got.Data, want.Data) {
				t.Errorf("%s is not what was exported", want.Name)
			}
		}
	}
}

func with(o ExportOptions, change func(*ExportOptions)) ExportOptions {
	change(&o)
	return o
}

func TestExportFullKeepsMocosNames(t *testing.T) {
	ck := trained(small())
	tensors, config := export(t, t.TempDir(), ck, with(imagenet, func(o *ExportOptions) { o.Full = true }))
	equal(t, "names", config.Names, "moco")
	want := map[string]safetensors.Tensor{}
	for _, ten := range ck.Model {
		want[ten.Name] = ten
	}
	if !reflect.DeepEqual(tensors, want) {
		t.Errorf("exported %v, want %v", slices.Sorted(maps.Keys(tensors)), slices.Sorted(maps.Keys(want)))
	}
}

func TestExportWithOtherStatistics(t *testing.T) {
	ck := trained(small())
	running := []safetensors.Tensor{safetensors.FromFloat32s("bn1.running_mean", []int{8}, []float32{1, 2, 3, 4, 5, 6, 7, 8})}
	before := slices.Clone(ck.Model)
	for _, full := range []bool{false, true} {
		tensors, _ := export(t, t.TempDir(), ck, with(imagenet, func(o *ExportOptions) { o.Running, o.Full = running, full }))
		name := "bn1.running_mean"
		if full {
			name = "encoder_q." + name
		}
		if got, err := safetensors.Float32s(tensors[name]); err != nil || !slices.Equal(got, []float32{1, 2, 3, 4, 5, 6, 7, 8}) {
			t.Errorf("full %t: %v, %v", full, got, err)
		}
	}
	if !reflect.DeepEqual(ck.Model, before) {
		t.Error("the checkpoint was changed")
	}
}

func TestExportRefuses(t *testing.T) {
	f := safetensors.FromFloat32s
	without := func(name string) *train.Checkpoint {
		ck := trained(small())
		ck.Model = slices.DeleteFunc(ck.Model, func(t safetensors.Tensor) bool { return t.Name == name })
		return ck
	}
	wider := trained(small())
	wider.Encoder.Width = 16
	running := func(t ...safetensors.Tensor) ExportOptions {
		return with(imagenet, func(o *ExportOptions) { o.Running = t })
	}
	for _, c := range []struct {
		want string
		ck   *train.Checkpoint
		o    ExportOptions
	}{
		{"no tensor encoder_q.layer4.0.bn2.weight", without("encoder_q.layer4.0.bn2.weight"), imagenet},
		{"no tensor encoder_q.bn1.num_batches_tracked", without("encoder_q.bn1.num_batches_tracked"), imagenet},
		{"encoder_q.conv1.weight is F32 [8 3 3 3], expected F32 [16 3 3 3]", wider, imagenet},
		{`encoder "x"`, trained(small()), with(imagenet, func(o *ExportOptions) { o.Encoder = "x" })},
		{"has no key encoder", blank(small()), with(imagenet, func(o *ExportOptions) { o.Encoder = "k" })},
		{"standard deviation 0", trained(small()), with(imagenet, func(o *ExportOptions) { o.Std[2] = 0 })},
		{"standard deviation NaN", trained(small()), with(imagenet, func(o *ExportOptions) { o.Std[2] = float32(math.NaN()) })},
		{"size 0", trained(small()), with(imagenet, func(o *ExportOptions) { o.Size = 0 })},
		{"belong to no BatchNorm", trained(small()), running(f("bn9.running_mean", []int{8}, make([]float32, 8)))},
		{"belong to no BatchNorm", trained(small()), running(f("conv1.weight", []int{8}, make([]float32, 8)))},
		{"bn1.running_mean are F32 [2]", trained(small()), running(f("bn1.running_mean", []int{2}, make([]float32, 2)))},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		if err := Export(dir, c.ck, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the folder was made", c.want)
		}
	}
}

// PyTorch loads each kind of export and computes the features that the Go backend does.
func TestExportAgainstPyTorch(t *testing.T) {
	const env = "MOCOSTREAM_PYTHON"
	python := os.Getenv(env)
	if python == "" {
		t.Skipf("set %s to a python that has torch, torchvision, timm and safetensors", env)
	}
	for _, c := range []struct {
		name string
		e    train.EncoderOptions
		o    ExportOptions
		want []string // what has to be checked
	}{
		{"resnet18", encoder("resnet18"), imagenet, []string{"torchvision: ", "timm: "}},
		{"resnet34", encoder("resnet34"), imagenet, []string{"torchvision: ", "timm: "}},
		{"resnet50", encoder("resnet50"), imagenet, []string{"torchvision: ", "timm: "}},
		{"resnet101", encoder("resnet101"), imagenet, []string{"torchvision: ", "timm: "}},
		{"wide_resnet50_2", encoder("wide_resnet50_2"), imagenet, []string{"torchvision: ", "timm: "}},
		{"resnext50_32x4d", encoder("resnext50_32x4d"), imagenet, []string{"torchvision: ", "timm: "}},
		{"full with BatchNorm in the head", train.EncoderOptions{Arch: "resnet18", Width: 64, Stem: "imagenet", Head: "mlp_bn", Dim: 16, Activation: "relu"},
			with(imagenet, func(o *ExportOptions) { o.Full = true }), []string{"moco: "}},
		{"narrow groups", train.EncoderOptions{Arch: "resnext50_32x4d", Width: 16, Stem: "cifar", Head: "mlp_bn", Dim: 16, Activation: "relu"},
			imagenet, []string{"load_mocostream.py: "}},
		{"narrow wide", train.EncoderOptions{Arch: "wide_resnet50_2", Width: 8, Stem: "cifar", Head: "linear", Dim: 16, Activation: "silu"},
			imagenet, []string{"load_mocostream.py: "}},
		{"full", encoder("resnet18"), with(imagenet, func(o *ExportOptions) { o.Full = true }), []string{"moco: "}},
		{"cifar", small(), imagenet, []string{"load_mocostream.py: "}},
		{"narrow bottleneck, key", train.EncoderOptions{Arch: "resnet50", Width: 8, Stem: "imagenet", Head: "mlp", Dim: 16, Activation: "relu"},
			with(imagenet, func(o *ExportOptions) { o.Full, o.Encoder = true, "k" }), []string{"load_mocostream.py: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			ck := trained(c.e)
			export(t, dir, ck, c.o)
			pixels, features := filepath.Join(dir, "pixels.st"), filepath.Join(dir, "features.st")
			writeFeatures(t, ck, c.o, pixels, features)
			cmd := exec.CommandContext(t.Context(), python, "../scripts/check_export.py", dir, pixels, features)
			cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
			out, err := cmd.CombinedOutput()
			for _, want := range c.want {
				if err != nil || strings.Count(string(out), ": ok\n") != len(c.want) || !strings.Contains(string(out), want) {
					t.Errorf("check_export.py: %v\n%s", err, out)
					break
				}
			}
			t.Logf("%s", out)
		})
	}
}

// writeFeatures embeds random images with the Go backend.
func writeFeatures(t *testing.T, ck *train.Checkpoint, o ExportOptions, pixelFile, featureFile string) {
	t.Helper()
	const n = 3
	rng := rand.New(rand.NewPCG(7, 7))
	pixels := make([]byte, n*o.Size*o.Size*3)
	for i := range pixels {
		pixels[i] = byte(rng.Uint32())
	}
	features := embed(t, ck, o, pixels)
	for path, ten := range map[string]safetensors.Tensor{
		pixelFile:   {Name: "pixels", DType: "U8", Shape: []int{n, o.Size, o.Size, 3}, Data: pixels},
		featureFile: safetensors.FromFloat32s("features", []int{n, len(features) / n}, features),
	} {
		if err := safetensors.WriteFile(path, []safetensors.Tensor{ten}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func embed(t *testing.T, ck *train.Checkpoint, o ExportOptions, pixels []byte) []float32 {
	t.Helper()
	backend, err := train.OpenBackend("go")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	which := o.Encoder
	if which == "" {
		which = "q"
	}
	e, err := train.NewEmbedderFrom(backend, train.EmbedderOptions{Encoder: ck.Encoder, Size: o.Size, Batch: 3, Mean: o.Mean, Std: o.Std}, ck, which)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	features, _, err := e.Embed(t.Context(), pixels)
	if err != nil {
		t.Fatal(err)
	}
	return features
}
