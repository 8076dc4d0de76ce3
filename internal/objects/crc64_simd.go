//go:build goexperiment.simd && amd64

package objects

import (
	"hash/crc64"
	"simd/archsimd"

	"golang.org/x/sys/cpu"
)

// updateNVMe folds blocks of 64 bytes: four lanes of 128 bits each stand for a polynomial that is congruent to all bytes so
// far, and move past the next block by two carry-less products (Gopal et al., "Fast CRC Computation for Generic
// Polynomials Using PCLMULQDQ Instruction", Intel 2009). The table does the 64 bytes of the lanes and what is left.
func updateNVMe(crc uint64, p []byte) uint64 {
	const block = 64
	if len(p) < 4*block || !cpu.X86.HasAVX || !cpu.X86.HasPCLMULQDQ {
		return crc64.Update(crc, nvme, p)
	}
	// x^(512+64-1) and x^(512-1) modulo the polynomial, bits reflected: how a lane's first and last 8 bytes move by a block.
	move := archsimd.LoadUint64x2(&[2]uint64{0x0c32cdb31e18a84a, 0x62242240ace5045a})
	a := load(p, 0).Xor(archsimd.LoadUint64x2(&[2]uint64{^crc, 0}))
	b, c, d := load(p, 16), load(p, 32), load(p, 48)
	for p = p[block:]; len(p) >= block; p = p[block:] {
		a = a.CarrylessMultiply(0, 0, move).Xor(a.CarrylessMultiply(1, 1, move)).Xor(load(p, 0))
		b = b.CarrylessMultiply(0, 0, move).Xor(b.CarrylessMultiply(1, 1, move)).Xor(load(p, 16))
		c = c.CarrylessMultiply(0, 0, move).Xor(c.CarrylessMultiply(1, 1, move)).Xor(load(p, 32))
		d = d.CarrylessMultiply(0, 0, move).Xor(d.CarrylessMultiply(1, 1, move)).Xor(load(p, 48))
	}
	var last [block]byte
	for i, lane := range []archsimd.Uint64x2{a, b, c, d} {
		lane.AsUint8x16().Store((*[16]byte)(last[16*i:]))
	}
	rest := crc64.Update(^uint64(0), nvme, last[:]) // from state 0: crc went into lane a
	return crc64.Update(rest, nvme, p)
}

func load(p []byte, at int) archsimd.Uint64x2 {
	return archsimd.LoadUint8x16((*[16]byte)(p[at : at+16])).AsUint64x2()
}
