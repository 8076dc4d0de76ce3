package augment

import "math"

// blurrer is Pillow's ImageFilter.GaussianBlur, which MoCo v2 uses: not a Gaussian but three passes of an extended box
// filter of the same variance (Gwosdek et al., "Theoretical Foundations of Gaussian Convolution by Extended Box
// Filtering", 2011), each rounded to bytes, first along rows, then along columns. Pixels outside repeat the edge.
type blurrer struct {
	line  []byte   // one row with its edges repeated
	other []byte   // the image between passes
	sums  []uint32 // sliding sums of all columns
}

const blurPasses = 3

// box is an extended box filter: radius whole pixels to each side weigh inner, the next one on each side weighs outer, in
// units of 2^-24.
type box struct {
	radius       int
	inner, outer uint32
}

// boxFor returns the filter that blurPasses times has the variance sigma*sigma. float32 throughout, as in Pillow.
func boxFor(sigma float32) box {
	variance := sigma * sigma / blurPasses
	length := float32(math.Sqrt(float64(12*float64(variance)) + 1))
	whole := float32(math.Floor((float64(length) - 1) / 2))
	part := (2*whole + 1) * (float32(whole*(whole+1)) - float32(3*variance))
	part /= 6 * (variance - float32((whole+1)*(whole+1)))
	radius := whole + part
	b := box{radius: int(radius), inner: uint32(float32(1<<24) / (float32(radius*2) + 1))}
	b.outer = (1<<24 - uint32(b.radius*2+1)*b.inner) / 2
	return b
}

// weigh returns the filtered byte where sum is that of the inner pixels and ends that of the two outer ones.
func (b box) weigh(sum, ends uint32) byte { return byte((sum*b.inner + ends*b.outer + 1<<23) >> 24) }

// blur blurs an image of size x size x 3 bytes in place; sigma is in pixels. At 0 it does nothing.
func (r *blurrer) blur(pix []byte, size int, sigma float32) {
	if sigma <= 0 {
		return
	}
	b := boxFor(sigma)
	r.other = grow(r.other, len(pix))
	for y := range size {
		row := pix[y*size*3:][:size*3]
		for range blurPasses {
			r.alongRow(row, b)
		}
	}
	r.alongColumns(r.other, pix, size, b)
	r.alongColumns(pix, r.other, size, b)
	r.alongColumns(r.other, pix, size, b)
	copy(pix, r.other)
}

// alongRow filters one row in place.
func (r *blurrer) alongRow(row []byte, b box) {
	edge := (b.radius + 1) * 3
	r.line = grow(r.line, len(row)+2*edge)
	repeatEdges(r.line, row, edge)
	inside := b.radius * 2 * 3 // from the first pixel of the window to its last
	for c := range 3 {
		var sum uint32
		for i := 3 + c; i < 3+inside; i += 3 { // all of the first window but its last pixel
			sum += uint32(r.line[i])
		}
		for i := c; i < len(row); i += 3 {
			sum += uint32(r.line[i+3+inside])
			row[i] = b.weigh(sum, uint32(r.line[i])+uint32(r.line[i+6+inside]))
			sum -= uint32(r.line[i+3])
		}
	}
}

func repeatEdges(line, row []byte, edge int) {
	copy(line[edge:], row)
	for i := range edge {
		line[i] = row[i%3]
		line[edge+len(row)+i] = row[len(row)-3+i%3]
	}
}

// alongColumns filters all columns of src into dst, a row at a time.
func (r *blurrer) alongColumns(dst, src []byte, size int, b box) {
	width := size * 3
	at := func(y int) []byte { return src[min(max(y, 0), size-1)*width:][:width] }
	r.sums = grow(r.sums, width)
	clear(r.sums)
	for y := -b.radius; y < b.radius; y++ {
		addRow(r.sums, at(y))
	}
	for y := range size {
		addRow(r.sums, at(y+b.radius))
		before, after, first := at(y-b.radius-1), at(y+b.radius+1), at(y-b.radius)
		out := dst[y*width:][:width]
		for x, sum := range r.sums {
			out[x] = b.weigh(sum, uint32(before[x])+uint32(after[x]))
			r.sums[x] = sum - uint32(first[x])
		}
	}
}

func addRow(sums []uint32, row []byte) {
	for x, v := range row {
		sums[x] += uint32(v)
	}
}
