// Package synth draws labelled images for demonstrations and tests: nothing is downloaded and nothing is licensed.
//
// A class is a pattern of one glyph, repeated on a jittered grid, every glyph at its own angle and in its own colour. Ground, lighting, scale
// and noise are drawn independently of the class, so neither the mean colour nor the pixels of an image tell its class;
// only the glyph does. A network that tells the classes apart has learned the glyphs. This says that learning works, and
// nothing about natural images.
package synth

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// MinSize and MaxSize bound the side of an image in pixels: below MinSize the glyphs are no longer told apart.
const (
	MinSize = 16
	MaxSize = 4096
)

// classNames are in alphabetical order: readers that number the folders of a set by their sorted names arrive at the
// numbers that a tar's .cls entries hold, whatever Options.Classes is.
var classNames = [...]string{
	"bar", "bars", "chevron", "cross", "disc", "dots", "frame", "half-disc", "ring", "square", "star", "triangle",
}

// Options describe a set. Two sets with equal Options are equal byte for byte (with the same Go release, whose JPEG
// encoder they share).
type Options struct {
	Classes int    `json:"classes"` // 1 to 12
	Images  int    `json:"images"`  // in all classes together; image i is of class i mod Classes
	Size    int    `json:"size"`    // side in pixels, MinSize to MaxSize
	Seed    uint64 `json:"seed"`
}

// ClassNames returns the names of the first n classes; n is at most 12. The name's index is the class.
func ClassNames(n int) []string { return append([]string(nil), classNames[:n]...) }

// Validate names every option that is out of range.
func (o Options) Validate() error {
	var errs []error
	if o.Classes < 1 || o.Classes > len(classNames) {
		errs = append(errs, fmt.Errorf("classes is %d; choose 1 to %d", o.Classes, len(classNames)))
	}
	if o.Images < 1 {
		errs = append(errs, fmt.Errorf("images is %d; choose 1 or more", o.Images))
	}
	if o.Size < MinSize || o.Size > MaxSize {
		errs = append(errs, fmt.Errorf("size is %d pixels; choose %d to %d", o.Size, MinSize, MaxSize))
	}
	return errors.Join(errs...)
}

// random returns the generator of image i, a function of (seed, i) alone. Both are mixed first: neighbouring seeds would
// start neighbouring PCG states.
func (o Options) random(i int) *rand.Rand {
	return rand.New(rand.NewPCG(mix(o.Seed), mix(^uint64(i))))
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
