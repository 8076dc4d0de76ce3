package train

// EncoderOptions describes an encoder as torchvision defines it, with the width and stem free.
type EncoderOptions struct {
	Arch       string `json:"arch"`       // resnet10, resnet18, resnet34, resnet50
	Width      int    `json:"width"`      // channels of the first stage; torchvision's is 64
	Stem       string `json:"stem"`       // imagenet: 7x7/2 and max-pool; cifar: 3x3/1
	Head       string `json:"head"`       // linear (v1) or mlp (v2)
	Dim        int    `json:"dim"`        // length of the embedding
	Activation string `json:"activation"` // relu or silu
}
