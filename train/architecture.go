package train

// architecture is a residual network (He et al. 2015, arXiv 1512.03385) as torchvision defines it, width aside.
type architecture struct {
	name       string
	blocks     [4]int // residual blocks of each stage
	bottleneck bool   // blocks are 1x1, 3x3, 1x1 with fourfold output, not 3x3, 3x3
	groups     int    // of a bottleneck's 3x3 convolution
	// perGroup is the channels of each group in the first stage, torchvision's width_per_group, at width 64; other
	// widths and later stages scale it.
	perGroup int
}

// architectures are all that an encoder can be; nothing else lists them but the configuration.
var architectures = []architecture{
	{"resnet10", [4]int{1, 1, 1, 1}, false, 1, 64},
	{"resnet18", [4]int{2, 2, 2, 2}, false, 1, 64},
	{"resnet34", [4]int{3, 4, 6, 3}, false, 1, 64},
	{"resnet50", [4]int{3, 4, 6, 3}, true, 1, 64},
	{"resnet101", [4]int{3, 4, 23, 3}, true, 1, 64},
	{"wide_resnet50_2", [4]int{3, 4, 6, 3}, true, 1, 128},
	{"resnext50_32x4d", [4]int{3, 4, 6, 3}, true, 32, 4},
}

// Architectures are the values of EncoderOptions.Arch: torchvision's names, and resnet10 with one block a stage.
func Architectures() []string {
	names := make([]string, len(architectures))
	for i, a := range architectures {
		names[i] = a.name
	}
	return names
}

// architectureOf finds an architecture by name.
func architectureOf(name string) (a architecture, ok bool) {
	for _, a := range architectures {
		if a.name == name {
			return a, true
		}
	}
	return architecture{}, false
}

// divisor is what an encoder's width must be a multiple of for its groups to be of whole channels.
func (a architecture) divisor() int { return max(64/a.perGroup, 1) }

// block places a residual block: stage and index from 0, of an encoder of the given width.
type block struct {
	architecture
	width, stage, index int
}

// stride is 2 for the first block of every stage but the first.
func (b block) stride() int {
	if b.stage > 0 && b.index == 0 {
		return 2
	}
	return 1
}

// channels returns the block's inner and outer width, as torchvision's BasicBlock and Bottleneck.
func (b block) channels() (inner, outer int) {
	planes := b.width << b.stage
	if b.bottleneck {
		return planes * b.perGroup / 64 * b.groups, planes * 4
	}
	return planes, planes
}

// convolution is one of a block's: its suffix in torchvision's names is its place among them, from 1.
type convolution struct{ out, in, kernel, stride, groups int }

// convolutions are the block's, on an input of so many channels; the stride is the 3x3's (ResNet v1.5).
func (b block) convolutions(in int) []convolution {
	inner, outer := b.channels()
	if b.bottleneck {
		return []convolution{{inner, in, 1, 1, 1}, {inner, inner, 3, b.stride(), b.groups}, {outer, inner, 1, 1, 1}}
	}
	return []convolution{{inner, in, 3, b.stride(), 1}, {outer, inner, 3, 1, 1}}
}

// downsamples says whether the block's shortcut is a convolution.
func (b block) downsamples(in int) bool {
	_, outer := b.channels()
	return b.stride() != 1 || in != outer
}
