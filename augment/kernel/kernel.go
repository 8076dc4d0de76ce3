//go:build cgo && !purego

package kernel

/*
#cgo CFLAGS: -std=c99 -O3 -Wall -Wextra -Wno-unknown-pragmas
#cgo noescape kernel_render
#cgo nocallback kernel_render
#cgo noescape kernel_scratch
#cgo nocallback kernel_scratch
#include "kernel.h"
*/
import "C"

import (
	"fmt"
	"image"
	"unsafe"

	"mocostream/augment/rgb"
)

// Operations of the jitter, for View.Order.
const (
	None = iota
	Brightness
	Contrast
	Saturation
	Hue
)

// MostRadius is the largest radius of a blur.
const MostRadius = C.KERNEL_MOST_RADIUS

// View says how to make a view.
type View struct {
	Size                             int      // height and width in pixels
	Order                            [4]uint8 // of the jitter, first to last
	Brightness, Contrast, Saturation float32  // factors
	Hue                              byte     // added to the 8-bit hue
	Gray, GrayFirst                  bool     // grey, and before the jitter
	Blur                             bool
	Radius                           int    // of the blur's box filter: whole pixels to each side, up to MostRadius
	Inner, Outer                     uint32 // their weight and that of the next pixel on each side, in units of 2^-24
	Flip                             bool   // left to right
}

// Taps are the weights of one direction of the resize: output i is the sum over k < Count[i] of Weight[i*Stride+k] (of 22
// fractional bits) times input First[i]+k. There are as many outputs as the view has pixels that way.
type Taps struct {
	First, Count []int
	Weight       []int32
	Stride       int
}

// Variants names the variants of the stages that this processor runs; the last is the fastest.
func Variants() []string {
	names := make([]string, C.kernel_variants())
	for i := range names {
		names[i] = C.GoString(C.kernel_name(C.int(i)))
	}
	return names
}

// Renderer owns scratch memory; it is used by one goroutine at a time.
type Renderer struct {
	variant int
	scratch []byte
}

// New returns a renderer of the fastest variant.
func New() *Renderer { return &Renderer{variant: int(C.kernel_variants()) - 1} }

// NewVariant returns a renderer of the variant of that index in Variants.
func NewVariant(i int) *Renderer { return &Renderer{variant: i} }

// Render makes a view of src's crop at dst, Size x Size x 3 bytes. The taps have to be those of the crop's width and height.
func (r *Renderer) Render(dst []byte, src *rgb.Image, crop image.Rectangle, v *View, across, down *Taps) {
	if crop.Empty() || !crop.In(src.Bounds()) || len(dst) != 3*v.Size*v.Size || v.Size < 1 || uint(v.Radius) > MostRadius {
		panic(fmt.Sprintf("render view: crop %v of %v to size %d in %d bytes, blur radius %d",
			crop, src.Bounds(), v.Size, len(dst), v.Radius))
	}
	c := r.view(v)
	c.source_pitch = C.ptrdiff_t(3 * src.Width)
	c.width, c.height = C.int32_t(crop.Dx()), C.int32_t(crop.Dy())
	r.grow(int(C.kernel_scratch(&c, C.ptrdiff_t(across.Stride))))
	from := src.Row(crop.Min.Y)[3*crop.Min.X:]
	C.kernel_render(&c, pointer(from), pointer(dst), pointer(r.scratch),
		offsets(across.First), offsets(across.Count), weights(across.Weight), C.ptrdiff_t(across.Stride),
		offsets(down.First), offsets(down.Count), weights(down.Weight), C.ptrdiff_t(down.Stride))
}

func (r *Renderer) view(v *View) C.struct_kernel_view {
	c := C.struct_kernel_view{
		size: C.int32_t(v.Size), variant: C.int32_t(r.variant),
		brightness: C.float(v.Brightness), contrast: C.float(v.Contrast), saturation: C.float(v.Saturation),
		hue: C.uint8_t(v.Hue), gray: flag(v.Gray), gray_first: flag(v.GrayFirst), flip: flag(v.Flip), blur: flag(v.Blur),
		radius: C.int32_t(v.Radius), inner: C.uint32_t(v.Inner), outer: C.uint32_t(v.Outer),
	}
	for i, op := range v.Order {
		c.order[i] = C.uint8_t(op)
	}
	return c
}

// keptBytes is the most scratch memory kept from one view to the next.
const keptBytes = 32 << 20

func (r *Renderer) grow(n int) {
	if cap(r.scratch) < n || cap(r.scratch) > keptBytes {
		r.scratch = make([]byte, n)
	}
	r.scratch = r.scratch[:n]
}

func flag(b bool) C.uint8_t {
	if b {
		return 1
	}
	return 0
}

func pointer(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))) }

// offsets: a Go int is as wide as a ptrdiff_t on all of Go's 64-bit and 32-bit machines.
func offsets(v []int) *C.ptrdiff_t { return (*C.ptrdiff_t)(unsafe.Pointer(unsafe.SliceData(v))) }

func weights(v []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(v))) }
