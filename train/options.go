package train

import "fmt"

// EncoderOptions describes an encoder as torchvision defines it, with the width and stem free.
type EncoderOptions struct {
	Arch       string `json:"arch"`       // resnet10, resnet18, resnet34, resnet50
	Width      int    `json:"width"`      // channels of the first stage; torchvision's is 64
	Stem       string `json:"stem"`       // imagenet: 7x7/2 and max-pool; cifar: 3x3/1
	Head       string `json:"head"`       // linear (v1) or mlp (v2)
	Dim        int    `json:"dim"`        // length of the embedding
	Activation string `json:"activation"` // relu or silu
}

// blocks lists the number of blocks of each stage by architecture.
var blocks = map[string][4]int{
	"resnet10": {1, 1, 1, 1},
	"resnet18": {2, 2, 2, 2},
	"resnet34": {3, 4, 6, 3},
	"resnet50": {3, 4, 6, 3},
}

// Validate names the first option that is out of range.
func (o EncoderOptions) Validate() error {
	if _, ok := blocks[o.Arch]; !ok {
		return fmt.Errorf("unknown architecture %q; use resnet10, resnet18, resnet34 or resnet50", o.Arch)
	}
	for _, rule := range []struct {
		ok   bool
		text string
	}{
		{o.Width >= 1, "width must be at least 1"},
		{o.Dim >= 2, "dim must be at least 2"},
		{o.Stem == "imagenet" || o.Stem == "cifar", "stem must be imagenet or cifar"},
		{o.Head == "linear" || o.Head == "mlp", "head must be linear or mlp"},
		{o.Activation == "relu" || o.Activation == "silu", "activation must be relu or silu"},
	} {
		if !rule.ok {
			return fmt.Errorf("encoder: %s", rule.text)
		}
	}
	return nil
}

// bottleneck says whether blocks are 1x1, 3x3, 1x1 with fourfold output (ResNet-50 and up).
func (o EncoderOptions) bottleneck() bool { return o.Arch == "resnet50" }

// Features is the length of the backbone's output.
func (o EncoderOptions) Features() int {
	if o.bottleneck() {
		return o.Width * 8 * 4
	}
	return o.Width * 8
}
