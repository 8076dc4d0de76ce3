package rgb

import "image"

// Standard is how a format stores colour: its YCbCr, and how its own library brings chroma back to full size.
type Standard int

const (
	// JFIF is that of JPEG files: full-range BT.601, converted and upsampled bit for bit as by libjpeg-turbo.
	JFIF Standard = iota
	// VP8 is that of lossy WebP: studio-range BT.601, converted and upsampled bit for bit as by libwebp.
	VP8
)

// FromYCbCr writes src into dst. Chroma of half the width or height is interpolated ("fancy upsampling"): three parts of
// the nearest sample and one of the next, in either direction. With other ratios the nearest sample is taken.
func FromYCbCr(dst *Image, src *image.YCbCr, standard Standard) {
	b := src.Bounds()
	dst.Resize(b.Dx(), b.Dy())
	convert := jfifRow
	if standard == VP8 {
		convert = vp8Row
	}
	up := newUpsampler(src, standard)
	cb, cr := make([]byte, dst.Width+1), make([]byte, dst.Width+1)
	for y := range dst.Height {
		up.row(cb, src.Cb, y)
		up.row(cr, src.Cr, y)
		convert(dst.Row(y), src.Y[y*src.YStride:], cb, cr)
	}
}

// jfifRow is libjpeg's ycc_rgb_convert: 16 fractional bits, each product of chroma rounded, green's two together.
func jfifRow(dst, luma, cb, cr []byte) {
	const half = 1 << 15
	for x := range len(dst) / 3 {
		y, u, v := int32(luma[x]), int32(cb[x])-128, int32(cr[x])-128
		p := dst[3*x : 3*x+3 : 3*x+3]
		p[0] = clip(y + (91881*v+half)>>16)
		p[1] = clip(y + (half-22554*u-46802*v)>>16)
		p[2] = clip(y + (116130*u+half)>>16)
	}
}

// vp8Row is libwebp's VP8YuvToRgb.
func vp8Row(dst, luma, cb, cr []byte) {
	for x := range len(dst) / 3 {
		y, u, v := int32(luma[x])*19077>>8, int32(cb[x]), int32(cr[x])
		p := dst[3*x : 3*x+3 : 3*x+3]
		p[0] = clip((y + v*26149>>8 - 14234) >> 6)
		p[1] = clip((y - u*6419>>8 - v*13320>>8 + 8708) >> 6)
		p[2] = clip((y + u*33050>>8 - 17685) >> 6)
	}
}

func clip(v int32) byte { return byte(min(max(v, 0), 255)) }
