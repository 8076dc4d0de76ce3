package augment

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"mocostream/augment/rgb"
)

func seeded(view int) *rand.Rand { return rand.New(rand.NewPCG(42, uint64(view))) }

func newRecipe(t testing.TB, o MoCoOptions) *MoCo {
	m, err := NewMoCo(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func views(n, size int) []View {
	out := make([]View, n)
	for i := range out {
		out[i] = View{Pix: make([]byte, size*size*3), Size: size}
	}
	return out
}

func render(t testing.TB, r Recipe, img []byte, n, size int) ([]View, uint64) {
	dst := views(n, size)
	hash, err := r.Views(dst, img, seeded)
	if err != nil {
		t.Fatal(err)
	}
	return dst, hash
}

func TestViewsDependOnImageAndRNGAlone(t *testing.T) {
	img, other := encodeJPEG(t, photo(120, 90)), encodeJPEG(t, photo(333, 222))
	recipe := newRecipe(t, MoCoV2(48))
	want, hash := render(t, recipe, img, 2, 48)
	if bytes.Equal(want[0].Pix, want[1].Pix) {
		t.Error("both views are the same")
	}
	clone := recipe.Clone()
	render(t, clone, other, 2, 48) // scratch of another image must not show
	for name, r := range map[string]Recipe{"again": recipe, "clone": clone} {
		got, h := render(t, r, img, 2, 48)
		if h != hash || !bytes.Equal(got[0].Pix, want[0].Pix) || !bytes.Equal(got[1].Pix, want[1].Pix) {
			t.Errorf("%s: other views or another hash", name)
		}
	}
	if one, _ := render(t, recipe, img, 1, 48); !bytes.Equal(one[0].Pix, want[0].Pix) {
		t.Error("the first view depends on whether there is a second")
	}
}

// With grey certain and the jitter's hue strong, v1 (grey first) stays grey, as v2 does.
func TestGrayBeforeAndAfterJitter(t *testing.T) {
	src := &rgb.Image{}
	if err := rgb.FromImage(src, photo(64, 64)); err != nil {
		t.Fatal(err)
	}
	p := viewParams{crop: src.Bounds(), gray: true, order: [4]uint8{jitterSaturation}, saturation: 0.2}
	out := map[bool][]byte{}
	for _, first := range []bool{true, false} {
		o := MoCoV1(32)
		o.GrayFirst = first
		out[first] = make([]byte, 32*32*3)
		newRecipe(t, o).renderer.render(out[first], src, &p)
		for i := 0; i < len(out[first]); i += 3 {
			if v := out[first][i : i+3]; v[0] != v[1] || v[1] != v[2] {
				t.Fatalf("grey first %v: pixel %v", first, v)
			}
		}
	}
	if bytes.Equal(out[true], out[false]) {
		t.Error("the order of grey and jitter does not matter")
	}
}

func TestViewsRefuse(t *testing.T) {
	recipe := newRecipe(t, MoCoV2(32))
	var bad *BadImage
	if _, err := recipe.Views(views(2, 32), []byte("text"), seeded); !errors.As(err, &bad) || bad.Reason != ReasonNotAnImage {
		t.Errorf("text: %v", err)
	}
	if _, err := recipe.Views(views(2, 31), readFile(t, "420.jpg"), seeded); err == nil || errors.As(err, &bad) {
		t.Errorf("views of another size: %v", err)
	}
	if _, err := recipe.Views([]View{{Size: 32}}, readFile(t, "420.jpg"), seeded); err == nil || errors.As(err, &bad) {
		t.Errorf("view without memory: %v", err)
	}
}

func TestValidateNamesTheOption(t *testing.T) {
	for want, change := range map[string]func(*MoCoOptions){
		"size":        func(o *MoCoOptions) { o.Size = 0 },
		"crop scale":  func(o *MoCoOptions) { o.CropScale = [2]float64{0, 1} },
		"crop ratio":  func(o *MoCoOptions) { o.CropRatio = [2]float64{2, 1} },
		"sigma":       func(o *MoCoOptions) { o.BlurSigma[1] = 1000 },
		"hue":         func(o *MoCoOptions) { o.Hue = 0.6 },
		"brightness":  func(o *MoCoOptions) { o.Brightness = -1 },
		"probability": func(o *MoCoOptions) { o.FlipProbability = 1.1 },
	} {
		o := MoCoV2(32)
		change(&o)
		if _, err := NewMoCo(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestHashIsOfWhatIsSeen(t *testing.T) {
	recipe := newRecipe(t, MoCoV2(32))
	m := photo(240, 160)
	_, hash := render(t, recipe, encodePNG(t, m), 1, 32)
	_, again := render(t, recipe, encodeJPEG(t, m), 1, 32)
	if d := bits.OnesCount64(hash ^ again); d > 4 {
		t.Errorf("JPEG and PNG of one picture differ in %d bits", d)
	}
	for y := range 160 { // the mirror image turns growing into falling
		for x := range 120 {
			a, b := m.RGBAAt(x, y), m.RGBAAt(239-x, y)
			m.SetRGBA(x, y, b)
			m.SetRGBA(239-x, y, a)
		}
	}
	_, mirrored := render(t, recipe, encodePNG(t, m), 1, 32)
	if d := bits.OnesCount64(hash ^ mirrored); d < 32 {
		t.Errorf("mirror image differs in %d bits only", d)
	}
}

func TestHashOfRamps(t *testing.T) {
	for _, width := range []int{8, 9, 18, 100} { // 8 columns are fewer than the hash has cells
		m := &rgb.Image{}
		m.Resize(width, 8)
		for i := range m.Pix {
			m.Pix[i] = byte(i / 3 % width * 2)
		}
		got := differenceHash(m)
		if want := ^uint64(0); width >= 9 && got != want {
			t.Errorf("ramp of %d columns: %x, want %x", width, got, want)
		}
		for i := range m.Pix {
			m.Pix[i] = 77
		}
		if got := differenceHash(m); got != 0 {
			t.Errorf("flat image: %x", got)
		}
	}
}

// The centre of a very long strip needs no memory for the rest of it.
func TestEvalOfAStrip(t *testing.T) {
	strip := image.NewGray(image.Rect(0, 0, 8, 16000))
	for y := range 16000 {
		strip.SetGray(4, y, color.Gray{byte(y)})
	}
	e, err := NewEval(224, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	img, v := encodePNG(t, strip), views(1, 224)[0]
	allocated, err := measure(func() error { return e.Render(v, img) })
	if err != nil || allocated > 8<<20 {
		t.Errorf("allocated %d bytes: %v", allocated, err)
	}
	var bad *BadImage
	if err := e.Render(v, img[:20]); !errors.As(err, &bad) {
		t.Errorf("truncated: %v", err)
	}
	if err := e.Render(views(1, 8)[0], img); err == nil {
		t.Error("rendered to another size")
	}
}

func TestViewsAllocateLittle(t *testing.T) {
	img := encodeJPEG(t, photo(200, 150))
	recipe, dst, rng := newRecipe(t, MoCoV2(64)), views(2, 64), seeded(0)
	source := func(int) *rand.Rand { return rng }
	once := func() {
		if _, err := recipe.Views(dst, img, source); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 { // until the scratch has its size
		once()
	}
	allocated, _ := measure(func() error {
		for range 50 {
			once()
		}
		return nil
	})
	if perImage := allocated / 50; perImage > 4096 && usesTurbo() {
		t.Errorf("%d bytes an image", perImage)
	}
}

func BenchmarkViews(b *testing.B) {
	img := encodeJPEG(b, photo(500, 375))
	recipe, dst, rng := newRecipe(b, MoCoV2(224)), views(2, 224), seeded(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := recipe.Views(dst, img, func(int) *rand.Rand { return rng }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	img := encodeJPEG(b, photo(500, 375))
	d := decoder{limits: Limits{}.WithDefaults()}
	for b.Loop() {
		if _, err := d.decode(img); err != nil {
			b.Fatal(err)
		}
	}
}
