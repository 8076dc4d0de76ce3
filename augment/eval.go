package augment

import (
	"fmt"
	"image"
	"math"

	"mocostream/loader"
)

// Eval is the transform for evaluation: the shorter side to Size x 256/224 (rounded), the longer one in proportion
// (rounded down), then the centre Size x Size; torchvision's Resize and CenterCrop on Pillow images. Not for concurrent
// use; Clone gives another goroutine its own.
type Eval struct {
	size    int
	decoder decoder
	resizer resizer
}

// NewEval returns the transform to size x size pixels, 1 to 4096.
func NewEval(size int, limits Limits) (*Eval, error) {
	if size < 1 || size > 4096 {
		return nil, fmt.Errorf("build evaluation transform: size of %d pixels is not in 1 to 4096", size)
	}
	return &Eval{size: size, decoder: decoder{limits: limits.WithDefaults()}}, nil
}

// Clone returns the same transform with scratch memory of its own.
func (e *Eval) Clone() *Eval {
	return &Eval{size: e.size, decoder: decoder{limits: e.decoder.limits}}
}

// Render decodes img into dst, which has to be of the transform's size. It returns a *BadImage where img cannot be
// decoded or breaks a limit.
func (e *Eval) Render(dst View, img []byte) error {
	if err := dst.check(e.size); err != nil {
		return fmt.Errorf("render for evaluation: %w", err)
	}
	src, err := e.decoder.decode(img)
	if err != nil {
		return err
	}
	full := evalSize(src.Width, src.Height, e.size)
	window := centre(full, e.size)
	e.resizer.resize(dst.Pix, src, src.Bounds(), full, window)
	return nil
}

// Renderer is the transform as EvalBatches asks for it, for one worker.
func (e *Eval) Renderer() func(dst View, s *loader.Sample) error {
	own := e.Clone()
	return func(dst View, s *loader.Sample) error { return own.Render(dst, s.Image()) }
}

// evalSize returns the dimensions after Resize.
func evalSize(width, height, size int) image.Point {
	short := int(math.Round(float64(size) * 256 / 224))
	if width <= height {
		return image.Pt(short, short*height/width)
	}
	return image.Pt(short*width/height, short)
}

// centre returns torchvision's centre crop: the margin is half of what is left over, rounded half to even.
func centre(full image.Point, size int) image.Rectangle {
	left := int(math.RoundToEven(float64(full.X-size) / 2))
	top := int(math.RoundToEven(float64(full.Y-size) / 2))
	return image.Rect(left, top, left+size, top+size)
}
