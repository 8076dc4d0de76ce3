package train

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// EncoderOptions describes an encoder as torchvision defines it, with the width and stem free.
type EncoderOptions struct {
	Arch       string `json:"arch"`       // one of Architectures
	Width      int    `json:"width"`      // channels of the first stage; torchvision's is 64
	Stem       string `json:"stem"`       // imagenet: 7x7/2 and max-pool; cifar: 3x3/1
	Head       string `json:"head"`       // linear (v1), mlp (v2) or mlp_bn
	Dim        int    `json:"dim"`        // length of the embedding
	Activation string `json:"activation"` // relu or silu
}

// The heads, with torch's names of their tensors.
const (
	headLinear = "linear" // fc
	headMLP    = "mlp"    // fc.0, ReLU, fc.2; hidden width that of the features
	headMLPBN  = "mlp_bn" // fc.0, BatchNorm fc.1, ReLU, fc.3: the projector of BYOL (arXiv 2006.07733)
)

// Validate names the first option that is out of range.
func (o EncoderOptions) Validate() error {
	a, ok := architectureOf(o.Arch)
	if !ok {
		names := Architectures()
		last := len(names) - 1
		return fmt.Errorf("unknown architecture %q; use %s or %s", o.Arch, strings.Join(names[:last], ", "), names[last])
	}
	for _, rule := range []struct {
		ok   bool
		text string
	}{
		{o.Width >= 1, "width must be at least 1"},
		{o.Width%a.divisor() == 0, fmt.Sprintf("width %d leaves the %d groups of a %s without whole channels; use a multiple of %d",
			o.Width, a.groups, a.name, a.divisor())},
		{o.Dim >= 2, "dim must be at least 2"},
		{o.Stem == "imagenet" || o.Stem == "cifar", "stem must be imagenet or cifar"},
		{slices.Contains([]string{headLinear, headMLP, headMLPBN}, o.Head), "head must be linear, mlp or mlp_bn"},
		{o.Activation == "relu" || o.Activation == "silu", "activation must be relu or silu"},
	} {
		if !rule.ok {
			return fmt.Errorf("encoder: %s", rule.text)
		}
	}
	return nil
}

// Features is the length of the backbone's output.
func (o EncoderOptions) Features() int {
	a, _ := architectureOf(o.Arch)
	_, outer := block{architecture: a, width: o.Width, stage: 3}.channels()
	return outer
}

// blocks are the encoder's residual blocks in order, with torchvision's names.
func (o EncoderOptions) blocks() iter.Seq2[string, block] {
	return func(yield func(string, block) bool) {
		a, _ := architectureOf(o.Arch)
		for stage, count := range a.blocks {
			for index := range count {
				if !yield(fmt.Sprintf("layer%d.%d", stage+1, index), block{a, o.Width, stage, index}) {
					return
				}
			}
		}
	}
}
