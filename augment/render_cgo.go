//go:build cgo && !purego

package augment

import (
	"mocostream/augment/kernel"
	"mocostream/augment/rgb"
)

func newRenderer(size int, grayFirst bool) viewRenderer {
	return newCRenderer(size, grayFirst, kernel.New())
}

// cRenderer renders in C, to the same bits as goRenderer. All that takes floating-point care (weights, box filter) is computed
// in Go for both.
type cRenderer struct {
	size          int
	grayFirst     bool
	columns, rows taps
	kernel        *kernel.Renderer
}

var _ viewRenderer = (*cRenderer)(nil)

func newCRenderer(size int, grayFirst bool, k *kernel.Renderer) *cRenderer {
	return &cRenderer{size: size, grayFirst: grayFirst, kernel: k}
}

func (c *cRenderer) render(dst []byte, src *rgb.Image, p *viewParams) {
	c.columns.compute(p.crop.Dx(), c.size, 0, c.size)
	c.rows.compute(p.crop.Dy(), c.size, 0, c.size)
	v := kernel.View{
		Size: c.size, Order: p.order,
		Brightness: float32(p.brightness), Contrast: float32(p.contrast), Saturation: float32(p.saturation),
		Hue: hueShift(p.hue), Gray: p.gray, GrayFirst: c.grayFirst, Flip: p.flip, Blur: float32(p.sigma) > 0,
	}
	if v.Blur {
		b := boxFor(float32(p.sigma))
		v.Radius, v.Inner, v.Outer = b.radius, b.inner, b.outer
	}
	c.kernel.Render(dst, src, p.crop, &v, c.columns.forKernel(), c.rows.forKernel())
}

func (t *taps) forKernel() *kernel.Taps {
	return &kernel.Taps{First: t.first, Count: t.count, Weight: t.weight, Stride: t.stride}
}
