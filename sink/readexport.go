package sink

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"mocostream/internal/safetensors"
	"mocostream/train"
)

const (
	exportConfigFile = "config.json"
	exportFormat     = "mocostream"
)

// IsExport says whether a folder on a disk is one that Export wrote to.
func IsExport(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err == nil {
		return false // a checkpoint
	}
	c, err := readExportConfig(dir)
	return err == nil && c.Format == exportFormat
}

func readExportConfig(dir string) (c modelConfig, err error) {
	text, err := os.ReadFile(filepath.Join(dir, exportConfigFile))
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(text, &c)
}

// ReadExport reads an export as a checkpoint for inference: its weights, its encoder, and in the configuration what
// describes the encoder and its images. A full export has both encoders with their heads. Another has one backbone, and which
// says of which encoder: the wanted one, unless it has only the key encoder and the query encoder was wanted; the key
// encoder of a query encoder's export is an error.
func ReadExport(dir, wanted string) (c *train.Checkpoint, which string, err error) {
	e, err := readExportConfig(dir)
	if err != nil {
		return nil, "", fmt.Errorf("read export: %w", err)
	}
	c = &train.Checkpoint{
		Step: e.Step, Config: e.settings(),
		Encoder: train.EncoderOptions{
			Arch: e.Architecture, Width: e.Width, Stem: e.Stem, Head: e.Head, Dim: e.Dim, Activation: e.Activation,
		},
	}
	if c.Model, _, err = safetensors.ReadFile(filepath.Join(dir, modelFile)); err != nil {
		return nil, "", fmt.Errorf("read export: %w", err)
	}
	if e.Names == "moco" {
		return c, wanted, nil
	}
	if wanted == "k" && e.Encoder != "k" {
		return nil, "", fmt.Errorf("read export: %s is of the query encoder; export it with --encoder k, or with --full", dir)
	}
	for i := range c.Model {
		c.Model[i].Name = "encoder_" + e.Encoder + "." + c.Model[i].Name
	}
	return c, e.Encoder, nil
}

// settings are the keys of the configuration that an export tells of.
func (c modelConfig) settings() map[string]string {
	list := func(x [3]float32) string {
		text, _ := json.Marshal(x) // numbers always can be
		return string(text)
	}
	return map[string]string{
		"train.arch": c.Architecture, "train.width": strconv.Itoa(c.Width), "train.stem": c.Stem, "train.head": c.Head,
		"train.dim": strconv.Itoa(c.Dim), "train.activation": c.Activation,
		"augment.size": strconv.Itoa(c.PretrainedCfg.InputSize[1]),
		"augment.mean": list(c.PretrainedCfg.Mean), "augment.std": list(c.PretrainedCfg.Std),
	}
}
