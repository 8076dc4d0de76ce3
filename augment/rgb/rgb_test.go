package rgb_test

import (
	"bytes"
	"image"
	"image/color"
	"testing"

	"mocostream/augment/rgb"
)

func TestFromImageDropsWhatRGBDoesNotHave(t *testing.T) {
	bounds := image.Rect(0, 0, 2, 1)
	gray16 := image.NewGray16(bounds)
	gray16.SetGray16(0, 0, color.Gray16{0x12FF})
	deep := image.NewNRGBA64(bounds)
	deep.SetNRGBA64(0, 0, color.NRGBA64{0x0102, 0x03FF, 0xFF00, 0x1000})
	alpha := image.NewNRGBA(bounds)
	alpha.SetNRGBA(0, 0, color.NRGBA{9, 8, 7, 0})
	palette := image.NewPaletted(bounds, color.Palette{color.NRGBA{200, 100, 50, 10}, color.RGBA{1, 2, 3, 255}})
	palette.Pix[1] = 1
	cmyk := image.NewCMYK(bounds)
	cmyk.SetCMYK(0, 0, color.CMYK{255, 0, 128, 51})
	for name, c := range map[string]struct {
		src  image.Image
		want []byte
	}{
		"16-bit grey": {gray16, []byte{0x12, 0x12, 0x12, 0, 0, 0}},
		"16-bit":      {deep, []byte{1, 3, 255, 0, 0, 0}},
		"alpha":       {alpha, []byte{9, 8, 7, 0, 0, 0}},
		"palette":     {palette, []byte{200, 100, 50, 1, 2, 3}},
		"CMYK":        {cmyk, []byte{0, 204, 102, 255, 255, 255}},
	} {
		var m rgb.Image
		if err := rgb.FromImage(&m, c.src); err != nil || !bytes.Equal(m.Pix, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, m.Pix, err, c.want)
		}
	}
	if err := rgb.FromImage(new(rgb.Image), image.NewAlpha(bounds)); err == nil {
		t.Error("converted an image of alpha alone")
	}
}

// Constant chroma stays constant whatever the ratio, at odd sizes too.
func TestFromYCbCrUpsamples(t *testing.T) {
	for ratio := image.YCbCrSubsampleRatio444; ratio <= image.YCbCrSubsampleRatio410; ratio++ {
		for _, size := range []image.Point{{1, 1}, {2, 3}, {7, 5}, {16, 16}, {9, 8}} {
			src := image.NewYCbCr(image.Rect(0, 0, size.X, size.Y), ratio)
			fill(src.Y, 120)
			fill(src.Cb, 60)
			fill(src.Cr, 200)
			var m rgb.Image
			rgb.FromYCbCr(&m, src, rgb.JFIF)
			r, g, b := color.YCbCrToRGB(120, 60, 200)
			if want := bytes.Repeat([]byte{r, g, b}, size.X*size.Y); !bytes.Equal(m.Pix, want) {
				t.Errorf("%v of %v: %v", ratio, size, m.Pix)
			}
		}
	}
}

// Luma alone and red chroma alone tell what the upsampled chroma is: red is luma + 1.402 Cr, and libjpeg's own rounding.
func TestFromYCbCrInterpolates(t *testing.T) {
	src := image.NewYCbCr(image.Rect(0, 0, 4, 1), image.YCbCrSubsampleRatio422)
	fill(src.Cb, 128)
	src.Cr[0], src.Cr[1] = 130, 170
	var m rgb.Image
	rgb.FromYCbCr(&m, src, rgb.JFIF)
	for x, want := range []byte{3, 17, 45, 59} { // Cr 130, 140, 160, 170
		if got := m.Pix[3*x]; got != want {
			t.Errorf("red of column %d is %d, want %d", x, got, want)
		}
	}
}

func fill(s []byte, v byte) {
	for i := range s {
		s[i] = v
	}
}

func TestImageIsAnImage(t *testing.T) {
	m := rgb.Image{Pix: []byte{1, 2, 3, 4, 5, 6}, Width: 1, Height: 2}
	if got := m.At(0, 1); got != (color.RGBA{4, 5, 6, 255}) {
		t.Errorf("pixel is %v", got)
	}
	if got := m.At(1, 1); got != (color.RGBA{}) {
		t.Errorf("pixel outside is %v", got)
	}
	if got := m.RGBA64At(0, 1); got != (color.RGBA64{4 * 0x101, 5 * 0x101, 6 * 0x101, 0xffff}) {
		t.Errorf("pixel is %v in 16 bits", got)
	}
	if got := m.RGBA64At(0, 2); got != (color.RGBA64{}) {
		t.Errorf("pixel outside is %v in 16 bits", got)
	}
	memory := &m.Pix[0]
	if m.Resize(2, 1); &m.Pix[0] != memory || m.Bounds() != image.Rect(0, 0, 2, 1) {
		t.Error("resizing to as many bytes took other memory")
	}
}
