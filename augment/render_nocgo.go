//go:build !cgo || purego

package augment

func newRenderer(size int, grayFirst bool) viewRenderer { return newGoRenderer(size, grayFirst) }
