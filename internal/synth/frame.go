package synth

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"runtime"

	"golang.org/x/image/draw"
	"golang.org/x/image/math/f64"
	"golang.org/x/sync/errgroup"
)

// Frame is one image of a stream.
type Frame struct {
	Key   string // burst/frame, both numbers: what stands before the slash is the same for near-duplicates
	Burst int
	Class int
	JPEG  []byte
}

// EachFrame calls use with the frames at places from to until, exclusive, in the stream's order; all processors draw some
// dozen ahead of it. It ends at the first error, which may be use's, or that of ctx.
func EachFrame(ctx context.Context, s Stream, in Images, from, until int, use func(Frame) error) error {
	p, err := newPlan(s, in)
	if err != nil {
		return err
	}
	workers := runtime.GOMAXPROCS(0)
	frames := make([]Frame, 64*workers)
	for ; from < until; from += len(frames) {
		part := frames[:min(len(frames), until-from)]
		if err := p.draw(ctx, in, part, from, workers); err != nil {
			return err
		}
		for _, f := range part {
			if err := use(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// draw makes the frames at places from, from+1, ... of the stream. Neighbours of one burst share the image they show.
func (p *plan) draw(ctx context.Context, in Images, frames []Frame, from, workers int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for start := 0; start < len(frames); {
		end := start + 1
		for end < len(frames) && p.burst(from+end) == p.burst(from+start) {
			end++
		}
		run := frames[start:end]
		at := from + start
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return p.drawBurst(in, run, at)
		})
		start = end
	}
	return g.Wait()
}

// number is the frame at a place of the stream.
func (p *plan) number(place int) int {
	if p.order == nil {
		return place
	}
	return int(p.order[place])
}

func (p *plan) burst(place int) int { return p.number(place) / p.Burst }

func (p *plan) drawBurst(in Images, frames []Frame, from int) error {
	burst := p.burst(from)
	shown := int(p.images[burst])
	img, err := in.Image(shown)
	if err != nil {
		return fmt.Errorf("draw frame %d: %w", p.number(from), err)
	}
	for i := range frames {
		number := p.number(from + i)
		frames[i] = Frame{Key: fmt.Sprintf("%06d/%08d", burst, number), Burst: burst, Class: in.Class(shown)}
		if frames[i].JPEG, err = p.frame(img, number, p.gains(burst)); err != nil {
			return fmt.Errorf("draw frame %d: %w", number, err)
		}
	}
	return nil
}

// frame shows a window of .88 to .98 of the image's shorter side, somewhere in it, in its light times .92 to 1.08.
func (p *plan) frame(img image.Image, number int, gains [3]float64) ([]byte, error) {
	rng := p.random(useFrame, uint64(number))
	b := img.Bounds()
	side := float64(min(b.Dx(), b.Dy()))
	window := side * uniform(rng, .88, .98)
	left := float64(b.Min.X) + (float64(b.Dx())-side)/2 + uniform(rng, 0, side-window)
	top := float64(b.Min.Y) + (float64(b.Dy())-side)/2 + uniform(rng, 0, side-window)
	scale := float64(p.Size) / window
	out := image.NewRGBA(image.Rect(0, 0, p.Size, p.Size))
	draw.BiLinear.Transform(out, f64.Aff3{scale, 0, -left * scale, 0, scale, -top * scale}, img, b, draw.Src, nil)
	light(out, gains, uniform(rng, .92, 1.08))
	var data bytes.Buffer
	data.Grow(p.Size * p.Size)
	err := jpeg.Encode(&data, out, &jpeg.Options{Quality: quality})
	return data.Bytes(), err
}

func light(img *image.RGBA, gains [3]float64, all float64) {
	for i := 0; i < len(img.Pix); i += 4 {
		for c, gain := range gains {
			img.Pix[i+c] = clip(float32(float64(img.Pix[i+c]) * gain * all))
		}
	}
}
