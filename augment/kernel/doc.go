// Package kernel renders views of decoded images in C: crop, antialiased bilinear resize, colour jitter, grey, Gaussian
// blur, flip. Its results are those of package augment's Go, and so Pillow's, bit for bit, on every processor: each stage has
// a variant in plain C and one for AVX2 that agree.
//
// A build without cgo, or with the tag purego, has nothing here, and package augment uses its own Go.
package kernel
