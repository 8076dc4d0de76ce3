package rgb

import "image"

// upsampler makes full rows of a chroma plane.
type upsampler struct {
	stride, width, height int // of the plane
	across, down          int // luma columns and rows of one chroma sample
	standard              Standard
}

func newUpsampler(src *image.YCbCr, standard Standard) *upsampler {
	u := &upsampler{stride: src.CStride, across: 1, down: 1, standard: standard}
	switch src.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		u.across = 2
	case image.YCbCrSubsampleRatio420:
		u.across, u.down = 2, 2
	case image.YCbCrSubsampleRatio440:
		u.down = 2
	case image.YCbCrSubsampleRatio411:
		u.across = 4
	case image.YCbCrSubsampleRatio410:
		u.across, u.down = 4, 2
	}
	u.width = (src.Rect.Dx() + u.across - 1) / u.across
	u.height = (src.Rect.Dy() + u.down - 1) / u.down
	return u
}

// row writes luma row y's chroma; dst is one longer than the row, for the second half of the last sample.
func (u *upsampler) row(dst, plane []byte, y int) {
	near := u.at(plane, y/u.down)
	next := u.at(plane, min(max(y/2+y%2*2-1, 0), u.height-1)) // where down is 2: the row above an even one, below an odd one
	switch {
	case u.across == 2 && u.down == 2 && u.standard == VP8:
		both(dst, near, next, vp8Between)
	case u.across == 2 && u.down == 2:
		both(dst, near, next, jfifBetween)
	case u.across == 2:
		both(dst, near, near, jfifAcross)
	case u.across == 1 && u.down == 2:
		down(dst, near, next, y)
	default:
		for x := range len(dst) - 1 {
			dst[x] = near[x/u.across]
		}
	}
}

func (u *upsampler) at(plane []byte, y int) []byte { return plane[y*u.stride:][:u.width] }

// corners are the four chroma samples around a pixel: of the near and of the next row, in the near and in the next column.
type corners struct{ near, side, next, across int }

// both writes two pixels for each sample; outside the plane the edge repeats.
func both(dst, near, next []byte, between func(c corners, right int) byte) {
	last := len(near) - 1
	for i := range near {
		left, right := max(i-1, 0), min(i+1, last)
		a, b := int(near[i]), int(next[i])
		dst[2*i] = between(corners{a, int(near[left]), b, int(next[left])}, 0)
		if 2*i+1 < len(dst) {
			dst[2*i+1] = between(corners{a, int(near[right]), b, int(next[right])}, 1)
		}
	}
}

// jfifBetween is libjpeg's h2v2_fancy_upsample: 9, 3, 3 and 1 sixteenths, a half rounded up on the left and down on the right.
func jfifBetween(c corners, right int) byte {
	return byte((9*c.near + 3*c.side + 3*c.next + c.across + 8 - right) >> 4)
}

// jfifAcross is h2v1_fancy_upsample: both rows are the same one.
func jfifAcross(c corners, right int) byte { return byte((3*c.near + c.side + 1 + right) >> 2) }

// vp8Between is libwebp's UpsampleRgbLinePair: the same weights, rounded twice.
func vp8Between(c corners, _ int) byte {
	diagonal := (c.near + c.side + c.next + c.across + 8 + 2*(c.side+c.next)) >> 3
	return byte((diagonal + c.near) >> 1)
}

// down is h1v2_fancy_upsample: a half is rounded down in even rows and up in odd ones.
func down(dst, near, next []byte, y int) {
	for x := range near {
		dst[x] = byte((3*int(near[x]) + int(next[x]) + 1 + y%2) >> 2)
	}
}
