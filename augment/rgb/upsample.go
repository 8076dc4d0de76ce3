package rgb

import "image"

// upsampler makes full rows of a chroma plane.
type upsampler struct {
	stride, width, height int  // of the plane
	across, down          int  // luma columns and rows of one chroma sample
	tent                  bool // interpolate
	sums                  []int
	roundLeft, roundRight int
}

func newUpsampler(src *image.YCbCr) *upsampler {
	u := &upsampler{stride: src.CStride, across: 1, down: 1}
	switch src.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		u.across, u.tent, u.roundLeft, u.roundRight = 2, true, 4, 8
	case image.YCbCrSubsampleRatio420:
		u.across, u.down, u.tent, u.roundLeft, u.roundRight = 2, 2, true, 8, 7
	case image.YCbCrSubsampleRatio440:
		u.down = 2
	case image.YCbCrSubsampleRatio411:
		u.across = 4
	case image.YCbCrSubsampleRatio410:
		u.across, u.down = 4, 2
	}
	u.width = (src.Rect.Dx() + u.across - 1) / u.across
	u.height = (src.Rect.Dy() + u.down - 1) / u.down
	u.sums = make([]int, u.width)
	return u
}

// row writes luma row y's chroma; dst is one longer than the row, for the second half of the last sample.
func (u *upsampler) row(dst, plane []byte, y int) {
	near := plane[y/u.down*u.stride:][:u.width]
	if !u.tent {
		for x := range len(dst) - 1 {
			dst[x] = near[x/u.across]
		}
		return
	}
	u.mixRows(near, plane, y)
	last := u.width - 1
	for i, sum := range u.sums {
		dst[2*i] = byte((3*sum + u.sums[max(i-1, 0)] + u.roundLeft) >> 4)
		if 2*i+1 < len(dst) {
			dst[2*i+1] = byte((3*sum + u.sums[min(i+1, last)] + u.roundRight) >> 4)
		}
	}
}

// mixRows sets sums to four times the chroma at row y: three parts of the near row, one of the next nearest.
func (u *upsampler) mixRows(near, plane []byte, y int) {
	far := near
	if u.down == 2 {
		next := min(max(y/2+y%2*2-1, 0), u.height-1)
		far = plane[next*u.stride:][:u.width]
	}
	for i := range u.sums {
		u.sums[i] = 3*int(near[i]) + int(far[i])
	}
}
