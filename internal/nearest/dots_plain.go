//go:build !(goexperiment.simd && amd64)

package nearest

// dots sets to to the products of four vectors with row, all of the same length, a multiple of lanes.
func dots(to *[4]float32, four *[4][]float32, row []float32) { dotsPlain(to, four, row) }
