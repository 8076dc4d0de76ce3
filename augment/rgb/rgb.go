// Package rgb holds decoded images: 8 bits a channel, red, green and blue interleaved, rows top to bottom without padding.
package rgb

import (
	"image"
	"image/color"
)

// Image is Width x Height pixels of three bytes. It is an image.Image, opaque.
type Image struct {
	Pix           []byte // Height*Width*3
	Width, Height int
}

// Resize makes m width x height, keeping the memory it has where that is enough. The pixels are undefined afterwards.
func (m *Image) Resize(width, height int) {
	n := width * height * 3
	if cap(m.Pix) < n {
		m.Pix = make([]byte, n)
	}
	m.Pix, m.Width, m.Height = m.Pix[:n], width, height
}

// Row returns row y.
func (m *Image) Row(y int) []byte {
	n := m.Width * 3
	return m.Pix[y*n : (y+1)*n]
}

// ColorModel is color.RGBAModel.
func (m *Image) ColorModel() color.Model { return color.RGBAModel }

// Bounds starts at the origin.
func (m *Image) Bounds() image.Rectangle { return image.Rect(0, 0, m.Width, m.Height) }

// At returns the pixel in column x of row y; transparent black outside.
func (m *Image) At(x, y int) color.Color {
	if !image.Pt(x, y).In(m.Bounds()) {
		return color.RGBA{}
	}
	p := m.Row(y)[3*x:]
	return color.RGBA{R: p[0], G: p[1], B: p[2], A: 255}
}

// RGBA64At makes m an image.RGBA64Image, which image libraries read without allocating (and x/image's nearest-neighbour
// scaling reads at all).
func (m *Image) RGBA64At(x, y int) color.RGBA64 {
	if !image.Pt(x, y).In(m.Bounds()) {
		return color.RGBA64{}
	}
	p := m.Row(y)[3*x:]
	return color.RGBA64{R: uint16(p[0]) * 0x101, G: uint16(p[1]) * 0x101, B: uint16(p[2]) * 0x101, A: 0xffff}
}
