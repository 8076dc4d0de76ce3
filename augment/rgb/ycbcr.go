package rgb

import (
	"image"
	"image/color"
)

// Space turns one YCbCr sample into red, green and blue.
type Space func(y, cb, cr byte) (r, g, b byte)

// JFIF is the full-range BT.601 of JPEG files.
func JFIF(y, cb, cr byte) (r, g, b byte) { return color.YCbCrToRGB(y, cb, cr) }

// Video is the studio-range BT.601 of VP8 (lossy WebP), in libwebp's fixed point.
func Video(y, cb, cr byte) (r, g, b byte) {
	luma, u, v := int(y)*19077>>8, int(cb), int(cr)
	return clip6(luma + v*26149>>8 - 14234), clip6(luma - u*6419>>8 - v*13320>>8 + 8708), clip6(luma + u*33050>>8 - 17685)
}

// clip6 drops six fractional bits and clamps to a byte.
func clip6(v int) byte { return byte(min(max(v, 0)>>6, 255)) }

// FromYCbCr writes src into dst. Chroma of half the width is interpolated with libjpeg's triangle filter ("fancy
// upsampling"), in both directions where it also has half the height; with other ratios the nearest sample is taken.
func FromYCbCr(dst *Image, src *image.YCbCr, space Space) {
	b := src.Bounds()
	dst.Resize(b.Dx(), b.Dy())
	fromYCbCr(dst, src, space)
}

func fromYCbCr(dst *Image, src *image.YCbCr, space Space) {
	up := newUpsampler(src)
	cb, cr := make([]byte, dst.Width+1), make([]byte, dst.Width+1)
	for y := range dst.Height {
		up.row(cb, src.Cb, y)
		up.row(cr, src.Cr, y)
		row, luma := dst.Row(y), src.Y[y*src.YStride:]
		for x := range dst.Width {
			row[3*x], row[3*x+1], row[3*x+2] = space(luma[x], cb[x], cr[x])
		}
	}
}
