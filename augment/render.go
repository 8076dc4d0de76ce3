package augment

import (
	"image"

	"mocostream/augment/rgb"
)

// viewRenderer makes views of one size. It owns scratch memory.
type viewRenderer interface {
	// render makes at dst, size x size x 3 bytes, the view of src that p says.
	render(dst []byte, src *rgb.Image, p *viewParams)
}

// goRenderer renders without C. What it does is Pillow's, bit for bit.
type goRenderer struct {
	size      int
	grayFirst bool
	resizer   resizer
	blurrer   blurrer
	sectors   *sectors
}

var _ viewRenderer = (*goRenderer)(nil)

func newGoRenderer(size int, grayFirst bool) *goRenderer {
	return &goRenderer{size: size, grayFirst: grayFirst, sectors: newSectors()}
}

func (g *goRenderer) render(dst []byte, src *rgb.Image, p *viewParams) {
	full := image.Pt(g.size, g.size)
	g.resizer.resize(dst, src, p.crop, full, image.Rectangle{Max: full})
	if p.gray && g.grayFirst {
		toGray(dst)
	}
	for _, op := range p.order {
		g.jitter(dst, op, p)
	}
	if p.gray && !g.grayFirst {
		toGray(dst)
	}
	g.blurrer.blur(dst, g.size, float32(p.sigma))
	if p.flip {
		flip(dst, g.size)
	}
}

// jitter applies one operation of p in place.
func (g *goRenderer) jitter(pix []byte, op uint8, p *viewParams) {
	switch op {
	case jitterBrightness:
		adjustBrightness(pix, float32(p.brightness))
	case jitterContrast:
		adjustContrast(pix, float32(p.contrast))
	case jitterSaturation:
		adjustSaturation(pix, float32(p.saturation))
	case jitterHue:
		g.sectors.adjustHue(pix, p.hue)
	}
}
