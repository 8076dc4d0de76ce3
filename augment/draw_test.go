package augment

import (
	"image"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const draws = 20000

// drawn returns the parameters of many views of a width x height image.
func drawn(o MoCoOptions, width, height int) []viewParams {
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([]viewParams, draws)
	for i := range all {
		all[i] = o.draw(rng, width, height)
	}
	return all
}

// values returns f of those for which it has one.
func values(all []viewParams, f func(viewParams) (float64, bool)) []float64 {
	var out []float64
	for _, p := range all {
		if v, ok := f(p); ok {
			out = append(out, v)
		}
	}
	return out
}

// checkDistribution is Kolmogorov and Smirnov's test against the distribution function cdf at significance 0.001.
func checkDistribution(t *testing.T, name string, sample []float64, cdf func(float64) float64) {
	t.Helper()
	slices.Sort(sample)
	n, worst := float64(len(sample)), 0.0
	for i, v := range sample {
		p := cdf(v)
		worst = max(worst, p-float64(i)/n, float64(i+1)/n-p)
	}
	if limit := 1.95 / math.Sqrt(n); worst > limit || n < draws/20 {
		t.Errorf("%s: distance %.4f from its distribution, %.4f allowed (n = %.0f)", name, worst, limit, n)
	}
}

func uniformCDF(low, high float64) func(float64) float64 {
	return func(v float64) float64 { return min(max((v-low)/(high-low), 0), 1) }
}

// checkRate allows four standard deviations.
func checkRate(t *testing.T, name string, all []viewParams, want float64, happened func(viewParams) bool) {
	t.Helper()
	n := 0
	for _, p := range all {
		if happened(p) {
			n++
		}
	}
	got := float64(n) / float64(len(all))
	if allowed := 4 * math.Sqrt(want*(1-want)/float64(len(all))); math.Abs(got-want) > allowed {
		t.Errorf("%s: rate %.4f, want %.4f +- %.4f", name, got, want, allowed)
	}
}

// Large images, so that rounding to pixels does not show.
const wide = 1 << 14

// Where every box fits, area and ratio are as drawn.
func TestCropDistribution(t *testing.T) {
	o := MoCoV2(224)
	o.CropScale = [2]float64{0.1, 0.5}
	all := drawn(o, wide, wide)
	checkDistribution(t, "area", values(all, area), uniformCDF(0.1, 0.5))
	checkDistribution(t, "log ratio", values(all, logRatio), uniformCDF(math.Log(3./4), math.Log(4./3)))
	checkDistribution(t, "left margin", values(all, func(p viewParams) (float64, bool) {
		return float64(p.crop.Min.X) / float64(wide-p.crop.Dx()), true
	}), uniformCDF(0, 1))
	checkDistribution(t, "top margin", values(all, func(p viewParams) (float64, bool) {
		return float64(p.crop.Min.Y) / float64(wide-p.crop.Dy()), true
	}), uniformCDF(0, 1))
}

func area(p viewParams) (float64, bool) {
	return float64(p.crop.Dx()) * float64(p.crop.Dy()) / (wide * wide), true
}

func logRatio(p viewParams) (float64, bool) {
	return math.Log(float64(p.crop.Dx()) / float64(p.crop.Dy())), true
}

// At MoCo's scale, 0.2 to 1, boxes that do not fit are drawn again: in a square image an area s fits where the log of the
// ratio is within -log s of 0, so the accepted areas have a density in proportion to min(1, log s / log 3/4).
func TestCropDistributionWithRejection(t *testing.T) {
	const steps = 80000
	sum, cdf := 0.0, make([]float64, steps+1)
	for i := range steps {
		s := 0.2 + 0.8*(float64(i)+0.5)/steps
		sum += min(1, math.Log(s)/math.Log(3./4))
		cdf[i+1] = sum
	}
	checkDistribution(t, "area", values(drawn(MoCoV2(224), wide, wide), area), func(s float64) float64 {
		i := int(min(max((s-0.2)/0.8, 0), 1) * steps)
		return cdf[i] / sum
	})
}

func TestCropStaysInside(t *testing.T) {
	for _, size := range []image.Point{{8, 8}, {8, 5000}, {5000, 8}, {500, 375}, {31, 33}} {
		bounds := image.Rectangle{Max: size}
		for _, p := range drawn(MoCoV2(224), size.X, size.Y)[:2000] {
			if p.crop.Empty() || !p.crop.In(bounds) {
				t.Fatalf("crop %v of %v", p.crop, bounds)
			}
		}
	}
}

// Ten tries cannot fit a whole-area box into a strip: torchvision's fallback is the largest central box.
func TestCropFallsBackToCentre(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		width, height int
		want          image.Rectangle
	}{
		{1000, 100, image.Rect(433, 0, 566, 100)}, // 133 wide
		{100, 1000, image.Rect(0, 433, 100, 566)},
	} {
		if got := drawCrop(rng, c.width, c.height, [2]float64{1, 1}, [2]float64{3. / 4, 4. / 3}); got != c.want {
			t.Errorf("crop of %d x %d is %v, want %v", c.width, c.height, got, c.want)
		}
	}
	if got := centralCrop(100, 100, [2]float64{3. / 4, 4. / 3}); got != image.Rect(0, 0, 100, 100) {
		t.Errorf("central crop of a square is %v", got)
	}
}

func TestDrawsOfMoCoV2(t *testing.T) {
	all := drawn(MoCoV2(224), 500, 375)
	jittered := func(p viewParams) bool { return p.order != [4]uint8{} }
	checkRate(t, "jitter", all, 0.8, jittered)
	checkRate(t, "gray", all, 0.2, func(p viewParams) bool { return p.gray })
	checkRate(t, "blur", all, 0.5, func(p viewParams) bool { return p.sigma > 0 })
	checkRate(t, "flip", all, 0.5, func(p viewParams) bool { return p.flip })
	checkRate(t, "gray and flip", all, 0.1, func(p viewParams) bool { return p.gray && p.flip })
	checkFactors(t, all, 0.1)
	checkDistribution(t, "sigma", values(all, func(p viewParams) (float64, bool) { return p.sigma, p.sigma > 0 }), uniformCDF(0.1, 2))
	for place := range 4 {
		for op := uint8(jitterBrightness); op <= jitterHue; op++ {
			checkRate(t, "place of an operation", all, 0.2, func(p viewParams) bool { return p.order[place] == op })
		}
	}
}

func checkFactors(t *testing.T, all []viewParams, hue float64) {
	t.Helper()
	for name, f := range map[string]func(viewParams) float64{
		"brightness": func(p viewParams) float64 { return p.brightness },
		"contrast":   func(p viewParams) float64 { return p.contrast },
		"saturation": func(p viewParams) float64 { return p.saturation },
	} {
		checkDistribution(t, name, values(all, func(p viewParams) (float64, bool) { return f(p), p.order != [4]uint8{} }),
			uniformCDF(0.6, 1.4))
	}
	checkDistribution(t, "hue", values(all, func(p viewParams) (float64, bool) { return p.hue, p.order != [4]uint8{} }),
		uniformCDF(-hue, hue))
}

func TestDrawsOfMoCoV1(t *testing.T) {
	all := drawn(MoCoV1(224), 500, 375)
	checkRate(t, "jitter", all, 1, func(p viewParams) bool { return p.order != [4]uint8{} })
	checkRate(t, "gray", all, 0.2, func(p viewParams) bool { return p.gray })
	checkRate(t, "blur", all, 0, func(p viewParams) bool { return p.sigma > 0 })
	checkRate(t, "flip", all, 0.5, func(p viewParams) bool { return p.flip })
	checkFactors(t, all, 0.4)
}

func TestJitterLeavesOutWhatHasNoStrength(t *testing.T) {
	o := MoCoV1(32)
	o.Contrast, o.Hue = 0, 0
	for _, p := range drawn(o, 64, 64)[:100] {
		if slices.Contains(p.order[:], jitterContrast) || slices.Contains(p.order[:], jitterHue) {
			t.Fatalf("order %v", p.order)
		}
		if !slices.Contains(p.order[:], jitterBrightness) || !slices.Contains(p.order[:], jitterSaturation) {
			t.Fatalf("order %v", p.order)
		}
	}
}
