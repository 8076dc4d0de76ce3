// Package augment turns encoded images into the two views that MoCo trains on: decode, random crop, colour, blur, flip.
package augment

import "math/rand/v2"

// View is where one augmented view goes: Size x Size x 3 bytes, rows top to bottom, RGB interleaved (one NHWC image).
type View struct {
	Pix  []byte
	Size int
}

// Recipe draws random parameters and renders views of one image.
type Recipe interface {
	// Views decodes img once and renders len(dst) independent views of it, drawing view i's parameters from
	// rng(i) alone. It returns a *BadImage when img cannot be decoded or breaks a limit. A Recipe is used by one
	// goroutine at a time (it owns scratch memory); Clone gives another worker its own.
	Views(dst []View, img []byte, rng func(view int) *rand.Rand) (hash uint64, err error)
	Clone() Recipe
}
