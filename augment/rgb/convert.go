package rgb

import (
	"fmt"
	"image"
	"image/color"
)

// FromImage writes src into dst as Pillow's convert("RGB") would: palettes are looked up, grey is repeated, alpha is
// dropped (not composited), of 16-bit channels the high byte is kept, and CMYK loses its inks. YCbCr is JFIF's full-range
// BT.601, its chroma upsampled as by FromYCbCr. Other kinds of image are an error. src has to be as a decoder made it, with
// its first pixel first in memory.
func FromImage(dst *Image, src image.Image) error {
	b := src.Bounds()
	dst.Resize(b.Dx(), b.Dy())
	switch s := src.(type) {
	case *image.Gray:
		eachRow(dst, s.Pix, s.Stride, grayRow)
	case *image.Gray16:
		eachRow(dst, s.Pix, s.Stride, gray16Row)
	case *image.RGBA:
		eachRow(dst, s.Pix, s.Stride, dropAlphaRow)
	case *image.NRGBA:
		eachRow(dst, s.Pix, s.Stride, dropAlphaRow)
	case *image.RGBA64:
		eachRow(dst, s.Pix, s.Stride, highByteRow)
	case *image.NRGBA64:
		eachRow(dst, s.Pix, s.Stride, highByteRow)
	case *image.CMYK:
		eachRow(dst, s.Pix, s.Stride, cmykRow)
	case *image.Paletted:
		fromPaletted(dst, s)
	case *image.YCbCr:
		FromYCbCr(dst, s, JFIF)
	default:
		return fmt.Errorf("convert image to RGB: kind %T is not known", src)
	}
	return nil
}

func eachRow(dst *Image, pix []byte, stride int, convert func(dst, src []byte)) {
	for y := range dst.Height {
		convert(dst.Row(y), pix[y*stride:])
	}
}

func grayRow(dst, src []byte) {
	for i := 0; i+2 < len(dst); i += 3 {
		v := src[i/3]
		dst[i], dst[i+1], dst[i+2] = v, v, v
	}
}

func gray16Row(dst, src []byte) {
	for i := 0; i+2 < len(dst); i += 3 {
		v := src[i/3*2]
		dst[i], dst[i+1], dst[i+2] = v, v, v
	}
}

func dropAlphaRow(dst, src []byte) {
	for len(dst) >= 3 {
		dst[0], dst[1], dst[2] = src[0], src[1], src[2]
		dst, src = dst[3:], src[4:]
	}
}

func highByteRow(dst, src []byte) {
	for len(dst) >= 3 {
		dst[0], dst[1], dst[2] = src[0], src[2], src[4]
		dst, src = dst[3:], src[8:]
	}
}

func cmykRow(dst, src []byte) {
	for len(dst) >= 3 {
		light := 255 - uint32(src[3])
		for c := range 3 {
			dst[c] = byte(light - mulDiv255(uint32(src[c]), light))
		}
		dst, src = dst[3:], src[4:]
	}
}

// mulDiv255 is a*b/255 rounded, for bytes.
func mulDiv255(a, b uint32) uint32 {
	t := a*b + 128
	return (t>>8 + t) >> 8
}

func fromPaletted(dst *Image, src *image.Paletted) {
	// The decoders make palettes of color.RGBA (opaque) and color.NRGBA; neither is premultiplied.
	var table [256][3]byte
	for i, c := range src.Palette {
		table[i&255] = straight(c)
	}
	eachRow(dst, src.Pix, src.Stride, func(dst, src []byte) {
		for i := 0; i+2 < len(dst); i += 3 {
			copy(dst[i:i+3], table[src[i/3]][:])
		}
	})
}

// straight returns a palette entry's channels without its alpha.
func straight(c color.Color) [3]byte {
	switch p := c.(type) {
	case color.RGBA:
		return [3]byte{p.R, p.G, p.B}
	case color.NRGBA:
		return [3]byte{p.R, p.G, p.B}
	}
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return [3]byte{n.R, n.G, n.B}
}
