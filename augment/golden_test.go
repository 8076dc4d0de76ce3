package augment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"image"
	"image/png"
	"os"
	"strings"
	"testing"

	"mocostream/augment/jpeg"
	"mocostream/augment/rgb"
)

// manifest is testdata/manifest.json: what Pillow made of which input.
type manifest struct {
	Resize []goldenView
	View   []goldenView
	Color  []struct {
		Op     string
		Factor float64
		File   string
	}
	Files []struct{ File, Expected string }
	Eval  []struct {
		Input, File string
		Size        int
	}
	Cube        map[string]string
	Orientation []struct {
		File   string
		Size   [2]int
		SHA256 string
	}
}

type goldenView struct {
	Box  [4]int
	Size int
	Ops  [][2]any
	File string
}

func golden(t testing.TB) manifest {
	var m manifest
	if err := json.Unmarshal(readFile(t, "manifest.json"), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func readFile(t testing.TB, name string) []byte {
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// readPNG reads an expected output without the code under test.
func readPNG(t testing.TB, name string) *rgb.Image {
	m, err := png.Decode(bytes.NewReader(readFile(t, name)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	out := &rgb.Image{}
	out.Resize(m.Bounds().Dx(), m.Bounds().Dy())
	for y := range out.Height {
		for x := range out.Width {
			r, g, b, _ := m.At(x, y).RGBA()
			copy(out.Row(y)[3*x:], []byte{byte(r >> 8), byte(g >> 8), byte(b >> 8)})
		}
	}
	return out
}

// difference returns the largest and the mean difference in levels.
func difference(t testing.TB, got, want []byte) (largest int, mean float64) {
	t.Helper()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%d bytes, want %d", len(got), len(want))
	}
	sum := 0
	for i := range got {
		d := max(int(got[i])-int(want[i]), int(want[i])-int(got[i]))
		largest = max(largest, d)
		sum += d
	}
	return largest, float64(sum) / float64(len(got))
}

func TestResizeIsPillows(t *testing.T) {
	src := readPNG(t, "source.png")
	var r resizer // one for all: scratch of a larger case must not show in a smaller one
	for _, c := range golden(t).Resize {
		got := make([]byte, c.Size*c.Size*3)
		r.resize(got, src, c.rect(), image.Pt(c.Size, c.Size), image.Rect(0, 0, c.Size, c.Size))
		if !bytes.Equal(got, readPNG(t, c.File).Pix) {
			t.Errorf("box %v to %d differs from %s", c.Box, c.Size, c.File)
		}
	}
}

func (g goldenView) rect() image.Rectangle { return image.Rect(g.Box[0], g.Box[1], g.Box[2], g.Box[3]) }

func apply(t testing.TB, pix []byte, size int, op string, factor float64) {
	switch op {
	case "brightness":
		adjustBrightness(pix, float32(factor))
	case "contrast":
		adjustContrast(pix, float32(factor))
	case "saturation":
		adjustSaturation(pix, float32(factor))
	case "hue":
		newSectors().adjustHue(pix, factor)
	case "gray":
		toGray(pix)
	case "blur":
		new(blurrer).blur(pix, size, float32(factor))
	case "flip":
		flip(pix, size)
	default:
		t.Fatalf("no operation %q", op)
	}
}

func TestOperationsArePillows(t *testing.T) {
	for _, c := range golden(t).Color {
		m := readPNG(t, "square.png")
		apply(t, m.Pix, m.Width, c.Op, c.Factor)
		if largest, mean := difference(t, m.Pix, readPNG(t, c.File).Pix); largest != 0 {
			t.Errorf("%s %v: off by up to %d levels, mean %.3f", c.Op, c.Factor, largest, mean)
		}
	}
}

// Every colour there is, both ways.
func TestHSVIsPillows(t *testing.T) {
	if testing.Short() {
		t.Skip("converts 2^25 colours")
	}
	sectors := newSectors()
	want := golden(t).Cube
	for name, convert := range map[string]func(a, b, c byte) (byte, byte, byte){"rgb_to_hsv": toHSV, "hsv_to_rgb": sectors.toRGB} {
		sum := sha256.New()
		plane := make([]byte, 0, 3<<16)
		for a := range 256 {
			plane = plane[:0]
			for bc := range 1 << 16 {
				x, y, z := convert(byte(a), byte(bc>>8), byte(bc))
				plane = append(plane, x, y, z)
			}
			sum.Write(plane)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != want[name] {
			t.Errorf("%s of all colours: SHA-256 %s, want %s", name, got, want[name])
		}
	}
}

func TestDecodeIsPillows(t *testing.T) {
	for _, c := range golden(t).Files {
		got, err := DecodeRGB(readFile(t, c.File), Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.File, err)
			continue
		}
		largest, mean := difference(t, got.Pix, readPNG(t, c.Expected).Pix)
		t.Logf("%s: largest %d, mean %.3f", c.File, largest, mean)
		if most, mostMean := tolerance(c.File); largest > most || mean > mostMean {
			t.Errorf("%s: off by up to %d levels, mean %.3f", c.File, largest, mean)
		}
	}
}

// tolerance: lossless formats are exact. libjpeg-turbo may differ by its version, Go's decoders in their rounding.
func tolerance(name string) (largest int, mean float64) {
	switch {
	case strings.HasSuffix(name, ".png"), name == "lossless.webp":
		return 0, 0
	case strings.HasSuffix(name, ".jpg") && usesTurbo():
		return 2, 0.2
	}
	return 4, 0.3
}

func usesTurbo() bool { return strings.HasPrefix(jpeg.Name(), "libjpeg") }

func TestEvalIsTorchvisions(t *testing.T) {
	for _, c := range golden(t).Eval {
		e, err := NewEval(c.Size, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		v := View{Pix: make([]byte, c.Size*c.Size*3), Size: c.Size}
		if err := e.Clone().Render(v, readFile(t, c.Input)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(v.Pix, readPNG(t, c.File).Pix) {
			t.Errorf("%s at %d differs from %s", c.Input, c.Size, c.File)
		}
	}
}

// A whole view: crop, jitter, blur and flip in Pillow and in render.
func TestViewIsPillows(t *testing.T) {
	src := readPNG(t, "source.png")
	for _, c := range golden(t).View {
		m, err := NewMoCo(MoCoV2(c.Size))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, c.Size*c.Size*3)
		p := c.params(t)
		m.renderer.render(got, src, &p)
		if !bytes.Equal(got, readPNG(t, c.File).Pix) {
			t.Errorf("view differs from %s", c.File)
		}
	}
}

func (g goldenView) params(t testing.TB) viewParams {
	p := viewParams{crop: g.rect()}
	for i, o := range g.Ops {
		factor := o[1].(float64)
		switch o[0] {
		case "brightness":
			p.order[i], p.brightness = jitterBrightness, factor
		case "contrast":
			p.order[i], p.contrast = jitterContrast, factor
		case "saturation":
			p.order[i], p.saturation = jitterSaturation, factor
		case "hue":
			p.order[i], p.hue = jitterHue, factor
		case "blur":
			p.sigma = factor
		case "flip":
			p.flip = true
		default:
			t.Fatalf("no operation %q", o[0])
		}
	}
	return p
}
