package train

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// named is a tensor of a fixture, in its order.
type named struct {
	name  string
	shape []int
}

// torchvisionNames reads the backbones' tensors (without fc) as torchvision lists them.
func torchvisionNames(t *testing.T, arch string) []named {
	t.Helper()
	text, err := os.ReadFile("testdata/torchvision_names.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	var list []named
	d := json.NewDecoder(bytes.NewReader(all[arch]))
	if _, err := d.Token(); err != nil {
		t.Fatalf("%s: %v", arch, err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		n := named{name: name.(string)}
		if err := d.Decode(&n.shape); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(n.name, batchesTracked) && !strings.HasPrefix(n.name, "fc.") {
			list = append(list, n)
		}
	}
	if len(list) == 0 {
		t.Fatalf("the fixture has no %s", arch)
	}
	return list
}

func TestParametersAreTorchvisions(t *testing.T) {
	features := map[string]int{"resnet10": 512, "resnet18": 512, "resnet34": 512}
	for _, arch := range Architectures() {
		t.Run(arch, func(t *testing.T) {
			var want []named
			if arch == "resnet10" { // ResNet-18 with the first block of each stage alone
				want = slices.DeleteFunc(torchvisionNames(t, "resnet18"), func(n named) bool {
					return strings.HasPrefix(n.name, "layer") && strings.HasPrefix(n.name[len("layer1"):], ".1.")
				})
			} else {
				want = torchvisionNames(t, arch)
			}
			f := orElse(features[arch], 2048)
			linear := func(name string, out int) []named {
				return []named{{name + ".weight", []int{out, f}}, {name + ".bias", []int{out}}}
			}
			norm := []named{
				{"fc.1.weight", []int{f}}, {"fc.1.bias", []int{f}}, {"fc.1.running_mean", []int{f}}, {"fc.1.running_var", []int{f}},
			}
			for head, tensors := range map[string][]named{
				"linear": linear("fc", 128),
				"mlp":    slices.Concat(linear("fc.0", f), linear("fc.2", 128)),
				"mlp_bn": slices.Concat(linear("fc.0", f), norm, linear("fc.3", 128)),
			} {
				o := EncoderOptions{Arch: arch, Width: 64, Stem: "imagenet", Head: head, Dim: 128, Activation: "relu"}
				if err := o.Validate(); err != nil || o.Features() != f {
					t.Errorf("%d features, want %d (%v)", o.Features(), f, err)
				}
				checkParameters(t, o, slices.Concat(want, tensors))
			}
		})
	}
}

func checkParameters(t *testing.T, o EncoderOptions, want []named) {
	t.Helper()
	got := o.Parameters()
	if len(got) != len(want) {
		t.Fatalf("%d tensors, want %d", len(got), len(want))
	}
	for i, p := range got {
		if p.Name != want[i].name || !slices.Equal(p.Shape, want[i].shape) {
			t.Errorf("tensor %d is %s %v, want %s %v", i, p.Name, p.Shape, want[i].name, want[i].shape)
		}
		if trained := !strings.Contains(p.Name, ".running_"); p.Trainable() != trained {
			t.Errorf("%s: trainable is %v", p.Name, p.Trainable())
		}
	}
}

// The width scales all channels, those of a group included; the small stem has a 3x3 convolution.
func TestParametersOfANarrowEncoder(t *testing.T) {
	for arch, want := range map[string]map[string][]int{
		"resnet50": {
			"conv1.weight":                 {16, 3, 3, 3},
			"layer1.0.downsample.0.weight": {64, 16, 1, 1},
			"layer4.2.conv2.weight":        {128, 128, 3, 3},
			"layer4.2.conv3.weight":        {512, 128, 1, 1},
			"fc.weight":                    {8, 512},
		},
		"wide_resnet50_2": {"layer1.0.conv2.weight": {32, 32, 3, 3}, "layer4.2.conv3.weight": {512, 256, 1, 1}},
		"resnext50_32x4d": {"layer1.0.conv2.weight": {32, 1, 3, 3}, "layer4.2.conv2.weight": {256, 8, 3, 3}},
	} {
		shapes := map[string][]int{}
		for _, p := range (EncoderOptions{Arch: arch, Width: 16, Stem: "cifar", Head: "linear", Dim: 8}).Parameters() {
			shapes[p.Name] = p.Shape
		}
		for name, shape := range want {
			if !slices.Equal(shapes[name], shape) {
				t.Errorf("%s: %s is %v, want %v", arch, name, shapes[name], shape)
			}
		}
	}
}

// moments returns mean, standard deviation and greatest magnitude.
func moments(x []float32) (mean, std, most float64) {
	for _, v := range x {
		mean += float64(v) / float64(len(x))
		most = max(most, math.Abs(float64(v)))
	}
	for _, v := range x {
		std += (float64(v) - mean) * (float64(v) - mean) / float64(len(x))
	}
	return mean, math.Sqrt(std), most
}

func TestInitialValues(t *testing.T) {
	o := EncoderOptions{Arch: "resnet18", Width: 32, Stem: "imagenet", Head: "mlp", Dim: 128}
	for _, p := range o.Parameters() {
		values := p.Initial(11)
		mean, std, most := moments(values)
		n := math.Sqrt(float64(len(values)))
		switch {
		case p.Kind == ConvWeight: // normal; He et al. 2015 by fan-out
			want := math.Sqrt(2 / float64(p.Shape[0]*p.Shape[2]*p.Shape[3]))
			if math.Abs(mean) > 5*want/n || math.Abs(std/want-1) > 5/n || most < 2.5*want {
				t.Errorf("%s: mean %.2g, std %.4g, largest %.3g; want std %.4g", p.Name, mean, std, most, want)
			}
		case p.Kind == LinearWeight || p.Kind == LinearBias: // uniform within 1/sqrt(inputs), here always 256
			bound := 1. / 16
			if math.Abs(mean) > 5*bound/n || math.Abs(std/bound*math.Sqrt(3)-1) > 5/n || most > bound || most < .9*bound {
				t.Errorf("%s: mean %.2g, std %.4g, largest %.3g; want up to %.4g", p.Name, mean, std, most, bound)
			}
		default:
			want := 0.
			if strings.HasSuffix(p.Name, "weight") || strings.HasSuffix(p.Name, "running_var") {
				want = 1
			}
			if mean != want || std != 0 {
				t.Errorf("%s: mean %v, std %v, want %v everywhere", p.Name, mean, std, want)
			}
		}
	}
}

func TestInitialValuesDependOnSeedAndNameAlone(t *testing.T) {
	find := func(o EncoderOptions, name string) Parameter {
		list := o.Parameters()
		i := slices.IndexFunc(list, func(p Parameter) bool { return p.Name == name })
		if i < 0 {
			t.Fatalf("%s has no %s", o.Arch, name)
		}
		return list[i]
	}
	small := EncoderOptions{Arch: "resnet10", Width: 8, Stem: "cifar", Head: "linear", Dim: 4}
	large := EncoderOptions{Arch: "resnet34", Width: 8, Stem: "imagenet", Head: "mlp", Dim: 16}
	base := find(small, "layer3.0.conv2.weight").Initial(1)
	if !slices.Equal(base, find(large, "layer3.0.conv2.weight").Initial(1)) {
		t.Error("the same tensor starts differently in another encoder")
	}
	if slices.Equal(base, find(small, "layer3.0.conv2.weight").Initial(2)) {
		t.Error("two seeds gave the same values")
	}
	one, two := find(large, "layer3.1.conv2.weight").Initial(1), find(large, "layer3.2.conv2.weight").Initial(1)
	if slices.Equal(one, two) {
		t.Error("two tensors of the same shape start with the same values")
	}
}
