package augment

import "mocostream/augment/rgb"

const (
	hashRows    = 8
	hashColumns = 9
)

// differenceHash names what an image looks like: nearly equal images have hashes of small Hamming distance. The image is
// divided into 8 rows of 9 cells; bit 8*row+column is set where the mean luma grows from a cell to the one on its right.
func differenceHash(m *rgb.Image) uint64 {
	var hash uint64
	for r := range hashRows {
		var cells [hashColumns]cell
		sumCells(&cells, m, r*m.Height/hashRows, (r+1)*m.Height/hashRows)
		for c := range hashColumns - 1 {
			if cells[c].darker(cells[c+1]) {
				hash |= 1 << (8*r + c)
			}
		}
	}
	return hash
}

// cell holds the sum of the weighted channels of some pixels.
type cell struct{ luma, pixels uint64 }

// darker compares the means without dividing, so that it is exact.
func (c cell) darker(than cell) bool { return c.luma*than.pixels < than.luma*c.pixels }

// sumCells sums rows top to bottom of m, at least one, over nine cells of at least one column.
func sumCells(cells *[hashColumns]cell, m *rgb.Image, top, bottom int) {
	bottom = max(bottom, top+1)
	for c := range cells {
		left := c * m.Width / hashColumns
		right := max((c+1)*m.Width/hashColumns, left+1)
		var sum [3]uint64
		for y := top; y < bottom; y++ {
			addChannels(&sum, m.Row(y)[left*3:right*3])
		}
		cells[c] = cell{
			luma:   sum[0]*19595 + sum[1]*38470 + sum[2]*7471,
			pixels: uint64(right-left) * uint64(bottom-top),
		}
	}
}

func addChannels(sum *[3]uint64, pixels []byte) {
	var r, g, b uint64
	for i := 0; i+2 < len(pixels); i += 3 {
		r += uint64(pixels[i])
		g += uint64(pixels[i+1])
		b += uint64(pixels[i+2])
	}
	sum[0] += r
	sum[1] += g
	sum[2] += b
}
