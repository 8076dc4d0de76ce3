package train

import (
	"encoding/json"
	"hash/crc32"
	"math"
	"os"
	"testing"

	"mocostream/internal/safetensors"
)

// torchvisionFixture is what testdata/make_torchvision_fixture.py writes.
type torchvisionFixture struct {
	Width int        `json:"width"`
	Side  int        `json:"side"`
	Mean  [3]float32 `json:"mean"`
	Std   [3]float32 `json:"std"`
	Cases map[string]struct {
		Head                 string
		Features, Projection []float32
	} `json:"cases"`
}

// fixtureValues are size numbers in [0, 1), the same as the script's.
func fixtureValues(name string, size int) []float64 {
	start, u := crc32.ChecksumIEEE([]byte(name)), make([]float64, size)
	for i := range u {
		x := uint32(i)*2654435761 + start
		for range 2 {
			x = (x ^ x>>16) * 0x45d9f3b
		}
		u[i] = float64((x^x>>16)>>8) / (1 << 24)
	}
	return u
}

// fixtureWeights are the tensor's values, the same as the script's.
func fixtureWeights(p Parameter) safetensors.Tensor {
	x := make([]float32, p.Size())
	for i, u := range fixtureValues(p.Name, len(x)) {
		switch p.Kind {
		case Scale, RunningVariance:
			u = 0.5 + u
		case Shift, RunningMean, LinearBias:
			u = (u - 0.5) * 0.2
		default:
			u = (u - 0.5) * math.Sqrt(12/float64(p.Size()/p.Shape[0]))
		}
		x[i] = float32(u)
	}
	return safetensors.FromFloat32s(p.Name, p.Shape, x)
}

// TestFeaturesAreTorchvisions runs every architecture in inference mode on the weights and the image that torchvision's
// own blocks were given.
func TestFeaturesAreTorchvisions(t *testing.T) {
	text, err := os.ReadFile("testdata/torchvision_features.json")
	if err != nil {
		t.Fatal(err)
	}
	var fixture torchvisionFixture
	if err := json.Unmarshal(text, &fixture); err != nil {
		t.Fatal(err)
	}
	pixels := make([]byte, fixture.Side*fixture.Side*3)
	for i, u := range fixtureValues("pixels", len(pixels)) {
		pixels[i] = byte(u * 256)
	}
	for _, arch := range Architectures() {
		want, ok := fixture.Cases[arch]
		if !ok && arch != "resnet10" { // which torchvision has not
			t.Errorf("the fixture has no %s", arch)
		}
		if !ok {
			continue
		}
		t.Run(arch, func(t *testing.T) {
			o := EmbedderOptions{
				Encoder: EncoderOptions{Arch: arch, Width: fixture.Width, Stem: "imagenet", Head: want.Head, Dim: len(want.Projection), Activation: "relu"},
				Size:    fixture.Side, Batch: 1, Mean: fixture.Mean, Std: fixture.Std,
			}
			var weights []safetensors.Tensor
			for _, p := range o.Encoder.Parameters() {
				weights = append(weights, fixtureWeights(p))
			}
			e, err := newEmbedder(goBackend(t), o, "", weights)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			features, projection, err := e.Embed(t.Context(), pixels)
			if err != nil {
				t.Fatal(err)
			}
			if f, p := distance(features, want.Features), distance(projection, want.Projection); !(f < 1e-5) || !(p < 1e-5) {
				t.Errorf("relative error %.2g of the features, %.2g of the projection", f, p)
			}
		})
	}
}

// distance is ||got - want|| / ||want||.
func distance(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, norm float64
	for i, w := range want {
		diff += math.Pow(float64(got[i]-w), 2)
		norm += math.Pow(float64(w), 2)
	}
	return math.Sqrt(diff / norm)
}
