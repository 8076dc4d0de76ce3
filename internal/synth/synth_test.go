package synth_test

import (
	"bytes"
	"image"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mocostream/internal/synth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestImageDependsOnSeedAndIndexAlone(t *testing.T) {
	opts := synth.Options{Classes: 12, Images: 100, Size: 64, Seed: 3}
	first, class := synth.Image(opts, 17)
	if class != 5 {
		t.Errorf("image 17 of 12 classes is of class %d, want 5", class)
	}
	if want := image.Rect(0, 0, 64, 64); first.Rect != want || !first.Opaque() {
		t.Errorf("bounds %v, opaque %v; want %v, true", first.Rect, first.Opaque(), want)
	}
	synth.Image(opts, 18)
	opts.Images = 7200
	again, _ := synth.Image(opts, 17)
	if !bytes.Equal(first.Pix, again.Pix) {
		t.Error("image 17 changed with the number of images or with what was drawn before")
	}
	seen := map[string]bool{string(first.Pix): true}
	for _, other := range []struct {
		seed  uint64
		index int
	}{{3, 29}, {4, 17}, {3, 5}, {17, 3}} {
		opts.Seed = other.seed
		img, _ := synth.Image(opts, other.index)
		if seen[string(img.Pix)] {
			t.Errorf("seed %d, index %d repeats another image", other.seed, other.index)
		}
		seen[string(img.Pix)] = true
	}
}

// Neither the colours nor single pixels may give the class away: the nearest class mean of raw pixels must do about as
// well on new images as a guess (1 in 12).
func TestPixelsDoNotTellTheClass(t *testing.T) {
	const size, train, test = 16, 1200, 600
	opts := synth.Options{Classes: 12, Images: train + test, Size: size, Seed: 1}
	means := make([][]float64, opts.Classes)
	for c := range means {
		means[c] = make([]float64, size*size*4)
	}
	for i := range train {
		img, class := synth.Image(opts, i)
		for j, v := range img.Pix {
			means[class][j] += float64(v) / (train / 12)
		}
	}
	right := 0
	for i := train; i < train+test; i++ {
		img, class := synth.Image(opts, i)
		if nearest(means, img.Pix) == class {
			right++
		}
	}
	if share := float64(right) / test; share > .13 {
		t.Errorf("raw pixels tell the class of %.1f %% of the images, chance is 8.3 %%", 100*share)
	}
}

func nearest(means [][]float64, pix []uint8) int {
	distances := make([]float64, len(means))
	for c, mean := range means {
		for j, v := range pix {
			d := float64(v) - mean[j]
			distances[c] += d * d
		}
	}
	return slices.Index(distances, slices.Min(distances))
}

func TestClassNamesAreSorted(t *testing.T) {
	names := synth.ClassNames(12)
	if len(names) != 12 || !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != 12 {
		t.Errorf("class names %v, want 12 different ones in alphabetical order", names)
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	err := synth.Options{Classes: 13, Images: 0, Size: 8}.Validate()
	want := []string{
		"classes is 13; choose 1 to 12",
		"images is 0; choose 1 or more",
		"size is 8 pixels; choose 16 to 4096",
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got %v, want %q", err, want)
	}
	for _, ok := range []synth.Options{{1, 1, 16, 0}, {12, 7200, 4096, 9}} {
		if err := ok.Validate(); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
}

func BenchmarkImage(b *testing.B) {
	opts := synth.Options{Classes: 12, Images: 7200, Size: 128, Seed: 1}
	for i := 0; b.Loop(); i++ {
		synth.Image(opts, i)
	}
}
