package sink

import (
	"encoding/json"
	"fmt"

	"mocostream/train"
)

// modelConfig is config.json of an export: what timm's hub format asks for, then what mocostream adds.
type modelConfig struct {
	Architecture  string        `json:"architecture"`
	NumClasses    int           `json:"num_classes"`
	NumFeatures   int           `json:"num_features"`
	GlobalPool    string        `json:"global_pool"`
	PretrainedCfg pretrainedCfg `json:"pretrained_cfg"`

	Format     string `json:"format"`  // mocostream
	Names      string `json:"names"`   // of the tensors: torchvision, or moco (facebookresearch/moco's)
	Encoder    string `json:"encoder"` // which one was exported, or got the statistics: q or k
	Step       int64  `json:"step"`
	Width      int    `json:"width"`
	Stem       string `json:"stem"`
	Head       string `json:"head"`
	Dim        int    `json:"dim"`
	Activation string `json:"activation"`
}

type pretrainedCfg struct {
	Mean           [3]float32 `json:"mean"`
	Std            [3]float32 `json:"std"`
	InputSize      [3]int     `json:"input_size"` // channels, height, width
	FixedInputSize bool       `json:"fixed_input_size"`
	CropPct        float64    `json:"crop_pct"`
	CropMode       string     `json:"crop_mode"`
	Interpolation  string     `json:"interpolation"`
	PoolSize       [2]int     `json:"pool_size"`
	NumClasses     int        `json:"num_classes"`
	FirstConv      string     `json:"first_conv"`
	Classifier     string     `json:"classifier"`
}

// exportConfig renders config.json.
func exportConfig(step int64, e train.EncoderOptions, o ExportOptions) ([]byte, error) {
	if o.Size < 1 {
		return nil, fmt.Errorf("size %d is not positive", o.Size)
	}
	for _, s := range o.Std {
		if !(s > 0) {
			return nil, fmt.Errorf("standard deviation %g is not positive", s)
		}
	}
	stride := 32 // of the whole backbone
	if e.Stem == "cifar" {
		stride = 8
	}
	pool := (o.Size + stride - 1) / stride
	names := "torchvision"
	if o.Full {
		names = "moco"
	}
	text, err := json.MarshalIndent(modelConfig{
		Architecture: e.Arch, NumFeatures: e.Features(), GlobalPool: "avg",
		PretrainedCfg: pretrainedCfg{
			Mean: o.Mean, Std: o.Std, InputSize: [3]int{3, o.Size, o.Size},
			CropPct: 0.875, CropMode: "center", Interpolation: "bilinear",
			PoolSize: [2]int{pool, pool}, FirstConv: "conv1", Classifier: "fc",
		},
		Format: exportFormat, Names: names, Encoder: o.Encoder, Step: step,
		Width: e.Width, Stem: e.Stem, Head: e.Head, Dim: e.Dim, Activation: e.Activation,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode config.json: %w", err)
	}
	return append(text, '\n'), nil
}
