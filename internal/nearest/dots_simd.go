//go:build goexperiment.simd && amd64

package nearest

import (
	"simd/archsimd"

	"golang.org/x/sys/cpu"
)

// dots sets to to the products of four vectors with row, all of the same length, a multiple of lanes.
func dots(to *[4]float32, four *[4][]float32, row []float32) {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		dotsPlain(to, four, row)
		return
	}
	n := len(row)
	v0, v1, v2, v3 := four[0][:n], four[1][:n], four[2][:n], four[3][:n]
	var a, b, c, d archsimd.Float32x8
	for at := 0; at+lanes <= n; at += lanes {
		r := archsimd.LoadFloat32x8((*[lanes]float32)(row[at : at+lanes]))
		a = archsimd.LoadFloat32x8((*[lanes]float32)(v0[at:at+lanes])).MulAdd(r, a)
		b = archsimd.LoadFloat32x8((*[lanes]float32)(v1[at:at+lanes])).MulAdd(r, b)
		c = archsimd.LoadFloat32x8((*[lanes]float32)(v2[at:at+lanes])).MulAdd(r, c)
		d = archsimd.LoadFloat32x8((*[lanes]float32)(v3[at:at+lanes])).MulAdd(r, d)
	}
	sums := a.AddPairsGrouped(b).AddPairsGrouped(c.AddPairsGrouped(d)) // of both halves, a to d
	sums.GetLo().Add(sums.GetHi()).Store(to)
}
