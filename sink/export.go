package sink

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mocostream/internal/safetensors"
	"mocostream/train"
)

// ExportOptions says what of a checkpoint is exported, and what config.json tells about its input.
type ExportOptions struct {
	// Full exports every encoder with its head, and queue or bank, under facebookresearch/moco's names, in place of one
	// backbone under torchvision's.
	Full    bool
	Encoder string // q (query), the default, or k (key)
	// Mean and Std normalise the input: (pixel/255 - Mean) / Std by channel, as in training.
	Mean, Std [3]float32
	Size      int // height and width of the images in pixels
	// Running replaces BatchNorm's running statistics of the encoder where given, by torchvision's names.
	Running []safetensors.Tensor
}

// loaderSource builds and loads the encoders that torchvision and timm do not have.
//
//go:embed load_mocostream.py
var loaderSource []byte

// LoaderFile is the name of the PyTorch loader in an export that needs one.
const LoaderFile = "load_mocostream.py"

// Export writes a checkpoint to the folder dir, making it if need be: model.safetensors, config.json in timm's form, and
// for an encoder that torchvision and timm cannot build a loader for PyTorch. Files of these names are replaced. Every
// tensor of the encoder must be there in its shape, or nothing is written.
func Export(dir string, ck *train.Checkpoint, o ExportOptions) error {
	if o.Encoder == "" {
		o.Encoder = "q"
	}
	tensors, err := exported(ck, o)
	if err != nil {
		return fmt.Errorf("export step %d: %w", ck.Step, err)
	}
	config, err := exportConfig(ck.Step, ck.Encoder, o)
	if err != nil {
		return fmt.Errorf("export step %d: %w", ck.Step, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("export step %d: %w", ck.Step, err)
	}
	if err := safetensors.WriteFile(filepath.Join(dir, modelFile), tensors, map[string]string{"format": "pt"}); err != nil {
		return fmt.Errorf("export step %d: %w", ck.Step, err)
	}
	if err := replaceFile(filepath.Join(dir, exportConfigFile), config); err != nil {
		return fmt.Errorf("export step %d: %w", ck.Step, err)
	}
	if inTorchvision(ck.Encoder) {
		return nil
	}
	if err := replaceFile(filepath.Join(dir, LoaderFile), loaderSource); err != nil {
		return fmt.Errorf("export step %d: %w", ck.Step, err)
	}
	return nil
}

// inTorchvision says whether torchvision and timm have the backbone under its name.
func inTorchvision(e train.EncoderOptions) bool {
	return e.Arch != "resnet10" && e.Width == 64 && e.Stem == "imagenet" && e.Activation == "relu"
}

// exported returns the tensors to write.
func exported(ck *train.Checkpoint, o ExportOptions) ([]safetensors.Tensor, error) {
	if o.Encoder != "q" && o.Encoder != "k" {
		return nil, fmt.Errorf("encoder %q: use q (query) or k (key)", o.Encoder)
	}
	if err := ck.Encoder.Validate(); err != nil {
		return nil, err
	}
	if o.Encoder == "k" && !ck.HasKeyEncoder() {
		return nil, errors.New("the checkpoint has no key encoder: its run kept a memory bank in place of one; use q")
	}
	prefix := "encoder_" + o.Encoder + "."
	have := make(map[string]safetensors.Tensor, len(ck.Model))
	for _, t := range ck.Model {
		have[t.Name] = t
	}
	if err := override(have, prefix, o.Running); err != nil {
		return nil, err
	}
	backbone, err := backboneOf(have, prefix, ck.Encoder)
	if err != nil || !o.Full {
		return backbone, err
	}
	maps.DeleteFunc(have, func(name string, _ safetensors.Tensor) bool { return !inReference(name) })
	return slices.Collect(maps.Values(have)), nil // Write orders them
}

// inReference says whether facebookresearch/moco, or its way with a memory bank, has a tensor of that name; it would not load
// a file with others.
func inReference(name string) bool {
	return strings.HasPrefix(name, "encoder_q.") || strings.HasPrefix(name, "encoder_k.") || slices.Contains([]string{"queue", "queue_ptr", "bank"}, name)
}

// override puts the given running statistics in place of those in have.
func override(have map[string]safetensors.Tensor, prefix string, running []safetensors.Tensor) error {
	for _, t := range running {
		old, ok := have[prefix+t.Name]
		if !ok || !strings.Contains(t.Name, ".running_") {
			return fmt.Errorf("statistics %s belong to no BatchNorm of the encoder", t.Name)
		}
		if t.DType != old.DType || !slices.Equal(t.Shape, old.Shape) {
			return fmt.Errorf("statistics %s are %s %v, expected %s %v", t.Name, t.DType, t.Shape, old.DType, old.Shape)
		}
		t.Name = prefix + t.Name
		have[t.Name] = t
	}
	return nil
}

// backboneOf returns the backbone's tensors by torchvision's names, and an error for one that is missing or misshapen.
func backboneOf(have map[string]safetensors.Tensor, prefix string, e train.EncoderOptions) ([]safetensors.Tensor, error) {
	var list []safetensors.Tensor
	take := func(name, dtype string, shape []int) error {
		t, ok := have[prefix+name]
		if !ok {
			return fmt.Errorf("the checkpoint has no tensor %s%s", prefix, name)
		}
		if t.DType != dtype || !slices.Equal(t.Shape, shape) {
			return fmt.Errorf("tensor %s is %s %v, expected %s %v for a %s", t.Name, t.DType, t.Shape, dtype, shape, e)
		}
		t.Name = name
		list = append(list, t)
		return nil
	}
	for _, p := range e.Parameters() {
		if p.Head() {
			continue
		}
		if err := take(p.Name, "F32", p.Shape); err != nil {
			return nil, err
		}
		if p.Kind == train.RunningVariance {
			if err := take(strings.TrimSuffix(p.Name, "running_var")+"num_batches_tracked", "I64", []int{}); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// replaceFile writes data beside path, durably, and renames.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+tmpSuffix)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // not there once renamed
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
