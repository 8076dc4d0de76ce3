package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/safetensors"
	"mocostream/train/nn"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

func tinyEmbedder(batch int) EmbedderOptions {
	o := tiny()
	return EmbedderOptions{Encoder: o.Encoder, Size: o.Size, Batch: batch, Mean: o.Mean, Std: o.Std}
}

// randomImages returns n images of tiny's size, darker and brighter ones.
func randomImages(n int) []byte {
	rng := rand.New(rand.NewPCG(4, 4))
	size := tiny().Size * tiny().Size * 3
	pixels := make([]byte, n*size)
	for i := range pixels {
		pixels[i] = byte(rng.IntN(128) + i/size*16%128)
	}
	return pixels
}

// trained is a checkpoint whose running statistics are those of some steps.
func trained(t *testing.T) (*Trainer, *Checkpoint) {
	t.Helper()
	trainer := newTrainer(t, tiny())
	steps(t, trainer, input{images: 10}.open(t), 6)
	return trainer, checkpointOf(t, trainer)
}

func embed(t *testing.T, e *Embedder, pixels []byte) (features, projections []float32) {
	t.Helper()
	features, projections, err := e.Embed(t.Context(), pixels)
	if err != nil {
		t.Fatal(err)
	}
	return features, projections
}

func openEmbedder(t *testing.T, o EmbedderOptions, c *Checkpoint, which string) *Embedder {
	t.Helper()
	e, err := NewEmbedderFrom(goBackend(t), o, c, which)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// nearly asks that the largest difference is small beside the largest value.
func nearly(t *testing.T, what string, got, want []float32, limit float64) {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	var worst, largest float64
	for i := range want {
		worst = max(worst, math.Abs(float64(got[i])-float64(want[i])))
		largest = max(largest, math.Abs(float64(want[i])))
	}
	if !(worst <= limit*largest) || largest == 0 {
		t.Errorf("%s: off by %.3g at values up to %.3g", what, worst, largest)
	}
}

// What an image's features are does not depend on its neighbours, the size of a batch or the filling of the last one.
func TestEmbedDependsOnTheImageAlone(t *testing.T) {
	const n = 7
	_, c := trained(t)
	pixels := randomImages(n)
	size := len(pixels) / n
	whole := openEmbedder(t, tinyEmbedder(n), c, "q")
	features, projections := embed(t, whole, pixels)
	if len(features) != n*32 || len(projections) != n*8 {
		t.Fatalf("%d features and %d projections, want %d and %d", len(features), len(projections), n*32, n*8)
	}
	for _, batch := range []int{1, 3, 16} {
		f, p := embed(t, openEmbedder(t, tinyEmbedder(batch), c, "q"), pixels)
		nearly(t, "features", f, features, 1e-5)
		nearly(t, "projections", p, projections, 1e-5)
	}
	for i := range n { // alone among black images
		f, p := embed(t, whole, pixels[i*size:][:size])
		nearly(t, fmt.Sprintf("features of image %d", i), f, features[i*32:][:32], 1e-5)
		nearly(t, fmt.Sprintf("projections of image %d", i), p, projections[i*8:][:8], 1e-5)
	}
	if f, p := embed(t, whole, nil); f != nil || p != nil {
		t.Errorf("no images gave %v and %v", f, p)
	}
}

// The features are those of the checkpoint's encoder with its running statistics: compared with the other layout's layers
// on images normalised here.
func TestEmbedTakesTheNamedEncoder(t *testing.T) {
	trainer, c := trained(t)
	pixels := randomImages(3)
	images := make([]float32, len(pixels))
	for i, p := range pixels {
		images[i] = (float32(p)/255 - tiny().Mean[i%3]) / tiny().Std[i%3]
	}
	seen := map[string][]float32{}
	for which, encoder := range map[string]string{"q": queryEncoder, "k": keyEncoder} {
		features, projections := embed(t, openEmbedder(t, tinyEmbedder(4), c, which), pixels)
		outputs, err := model.CallOnceN(trainer.backend.Backend, trainer.store, func(_ *model.Scope, x *Node) []*Node {
			pass := trainer.forward(x.Graph(), encoder, false)
			pass.groups, pass.layers = 0, nn.NHWC{}
			f := pass.features(x, [3]float32{}, [3]float32{})
			return []*Node{f, pass.head(f)}
		}, tensors.FromFlatDataAndDimensions(images, 3, 8, 8, 3))
		if err != nil {
			t.Fatal(err)
		}
		nearly(t, which+" features", features, tensors.MustCopyFlatData[float32](outputs[0]), 1e-5)
		nearly(t, which+" projections", projections, tensors.MustCopyFlatData[float32](outputs[1]), 1e-5)
		seen[which] = features
	}
	if slices.Equal(seen["q"], seen["k"]) {
		t.Error("query and key encoder are the same")
	}
}

func TestNewEmbedderIsAnUntrainedTrainer(t *testing.T) {
	o := tiny()
	e, err := NewEmbedder(goBackend(t), tinyEmbedder(2), o.Seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	got, _ := embed(t, e, randomImages(2))
	want, _ := embed(t, openEmbedder(t, tinyEmbedder(2), checkpointOf(t, newTrainer(t, o)), "q"), randomImages(2))
	if !slices.Equal(got, want) {
		t.Error("the baseline differs from a trainer's start")
	}
}

func TestEmbedderRefuses(t *testing.T) {
	backend := goBackend(t)
	c := checkpointOf(t, newTrainer(t, tiny()))
	if _, err := NewEmbedderFrom(backend, tinyEmbedder(2), c, "key"); err == nil || err.Error() != `encoder "key": use q (query) or k (key)` {
		t.Errorf("got %v", err)
	}
	wide := tinyEmbedder(2)
	wide.Encoder.Width = 8
	const shape = "checkpoint: tensor encoder_k.conv1.weight has shape [4 3 3 3], expected [8 3 3 3]"
	if _, err := NewEmbedderFrom(backend, wide, c, "k"); err == nil || err.Error() != shape {
		t.Errorf("got %v, want %s", err, shape)
	}
	deep := tinyEmbedder(2)
	deep.Encoder.Arch = "resnet99"
	if _, err := NewEmbedder(backend, deep, 1); err == nil || !strings.Contains(err.Error(), `unknown architecture "resnet99"`) {
		t.Errorf("got %v", err)
	}
	e := openEmbedder(t, tinyEmbedder(2), c, "q")
	if _, _, err := e.Embed(t.Context(), make([]byte, 8*8*3+1)); err == nil || err.Error() != "embed: 193 bytes are no whole number of 8x8 images" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := e.Embed(ctx, randomImages(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// firstStatistics computes in float64 what the first BatchNorm sees of a batch: mean and unbiased variance by channel of
// the 3x3 convolution of the normalised images.
func firstStatistics(weight []float32, pixels []byte) (mean, variance []float64) {
	const size, out = 8, 4
	o := tiny()
	n := len(pixels) / (size * size * 3)
	at := func(image, y, x, c int) float64 {
		if y < 0 || y >= size || x < 0 || x >= size {
			return 0
		}
		p := pixels[((image*size+y)*size+x)*3+c]
		return (float64(p)/255 - float64(o.Mean[c])) / float64(o.Std[c])
	}
	for channel := range out {
		var sum, square float64
		for i := range n * size * size {
			var v float64
			for k := range 27 { // weight [out, 3, 3, 3]: input channel, row, column
				c, dy, dx := k/9, k/3%3-1, k%3-1
				v += float64(weight[channel*27+k]) * at(i/(size*size), i/size%size+dy, i%size+dx, c)
			}
			sum += v
			square += v * v
		}
		m := float64(n * size * size)
		mean = append(mean, sum/m)
		variance = append(variance, (square-sum*sum/m)/(m-1))
	}
	return mean, variance
}

// Estimate leaves the mean over whole batches of each batch's statistics, however the images are handed over.
func TestEstimateIsTheMeanOverBatches(t *testing.T) {
	const batch, size = 4, 8 * 8 * 3
	_, c := trained(t)
	weight := tensorValues(t, c.Model, "encoder_q.conv1.weight")
	for _, part := range []struct {
		name   string
		images int   // handed over in all
		sizes  []int // images a part, the last for the rest
		used   int   // images in whole batches
	}{
		{"whole batches", 12, []int{4}, 12},
		{"fragments", 12, []int{1, 6, 3, 2}, 12},
		{"all at once", 12, []int{12}, 12},
		{"a rest", 14, []int{5}, 12},
		{"one batch", 4, []int{4}, 4},
	} {
		t.Run(part.name, func(t *testing.T) {
			e := openEmbedder(t, tinyEmbedder(batch), c, "q")
			pixels := randomImages(part.images)
			estimate(t, e, pixels, part.sizes)
			wantMean, wantVariance := make([]float32, 4), make([]float32, 4)
			for at := 0; at < part.used; at += batch {
				m, v := firstStatistics(weight, pixels[at*size:][:batch*size])
				for i := range m {
					wantMean[i] += float32(m[i]) * batch / float32(part.used)
					wantVariance[i] += float32(v[i]) * batch / float32(part.used)
				}
			}
			running, err := e.Running()
			if err != nil {
				t.Fatal(err)
			}
			nearly(t, "mean", tensorValues(t, running, "bn1.running_mean"), wantMean, 1e-5)
			nearly(t, "variance", tensorValues(t, running, "bn1.running_var"), wantVariance, 1e-5)
			before, _ := embed(t, openEmbedder(t, tinyEmbedder(batch), c, "q"), pixels)
			if after, _ := embed(t, e, pixels); slices.Equal(before, after) {
				t.Error("the features are still those of the old statistics")
			}
		})
	}
}

// estimate hands over pixels in parts of the given sizes.
func estimate(t *testing.T, e *Embedder, pixels []byte, sizes []int) {
	t.Helper()
	const size = 8 * 8 * 3
	i := 0
	err := e.Estimate(t.Context(), func() ([]byte, error) {
		n := min(sizes[min(i, len(sizes)-1)]*size, len(pixels))
		i++
		part := pixels[:n]
		pixels = pixels[n:]
		return part, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Fewer images than a batch are repeated to fill one, and a second estimate replaces the first.
func TestEstimateOfFewImages(t *testing.T) {
	_, c := trained(t)
	few, many := openEmbedder(t, tinyEmbedder(6), c, "q"), openEmbedder(t, tinyEmbedder(6), c, "q")
	pixels := randomImages(3)
	estimate(t, few, randomImages(12), []int{6})
	estimate(t, few, pixels, []int{1})
	estimate(t, many, append(slices.Clone(pixels), pixels...), []int{6})
	got, err := few.Running()
	if err != nil {
		t.Fatal(err)
	}
	want, err := many.Running()
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		nearly(t, want[i].Name, tensorValues(t, got, want[i].Name), tensorValues(t, want, want[i].Name), 1e-5)
	}
}

func TestEstimatePassesOnErrors(t *testing.T) {
	_, c := trained(t)
	e := openEmbedder(t, tinyEmbedder(4), c, "q")
	broken := errors.New("no more images")
	if err := e.Estimate(t.Context(), func() ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestRunningHasTorchvisionsNames(t *testing.T) {
	_, c := trained(t)
	running, err := openEmbedder(t, tinyEmbedder(2), c, "k").Running()
	if err != nil {
		t.Fatal(err)
	}
	var want []safetensors.Tensor
	for _, tensor := range c.Model {
		name, ok := strings.CutPrefix(tensor.Name, "encoder_k.")
		if ok && (strings.HasSuffix(name, ".running_mean") || strings.HasSuffix(name, ".running_var")) {
			tensor.Name = name
			want = append(want, tensor)
		}
	}
	sameTensors(t, "running statistics", running, want)
}
