package loader

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
)

// draws returns the random numbers of one purpose. They depend on the arguments alone, and on no version of Go: ChaCha8's
// stream is specified (C2SP chacha8rand), and what is made of it here does not use math/rand's own algorithms.
func draws(purpose string, seed uint64, at ...int64) *rand.ChaCha8 {
	key := append([]byte("mocostream/loader/"+purpose), 0)
	key = binary.LittleEndian.AppendUint64(key, seed)
	for _, v := range at {
		key = binary.LittleEndian.AppendUint64(key, uint64(v))
	}
	return rand.NewChaCha8(sha256.Sum256(key))
}

// below draws uniformly from 0 <= x < n, up to a bias of n in 2^64.
func below(src *rand.ChaCha8, n int64) int64 { return scale(src.Uint64(), uint64(n)) }

// scale maps 64 random bits to 0 <= x < n.
func scale(random, n uint64) int64 {
	hi, _ := bits.Mul64(random, n)
	return int64(hi)
}

// feistelRounds is twice what makes a Feistel network of good round functions pseudo-random (Luby and Rackoff), since the
// halves of a small domain are short.
const feistelRounds = 8

// permutation is a keyed bijection of 0..n-1 in constant memory: a Feistel network over the pairs of a*b >= n, its
// halves added modulo a and b. A result of n or more is permuted again until it is less (cycle walking, Black and
// Rogaway 2002), rarely since a*b < n + a.
type permutation struct {
	n, a, b uint64
	keys    [feistelRounds]uint64
}

func newPermutation(n int64, src *rand.ChaCha8) *permutation {
	p := &permutation{n: uint64(n)}
	p.a = max(1, uint64(math.Ceil(math.Sqrt(float64(n)))))
	p.b = max(1, (p.n+p.a-1)/p.a)
	for i := range p.keys {
		p.keys[i] = src.Uint64()
	}
	return p
}

// at returns where 0 <= i < n goes.
func (p *permutation) at(i int64) int64 {
	x := uint64(i)
	for {
		if x = p.once(x); x < p.n {
			return int64(x)
		}
	}
}

func (p *permutation) once(x uint64) uint64 {
	left, right := x/p.b, x%p.b
	for i := 0; i < feistelRounds; i += 2 {
		if left += uint64(scale(mix(right^p.keys[i]), p.a)); left >= p.a {
			left -= p.a
		}
		if right += uint64(scale(mix(left^p.keys[i+1]), p.b)); right >= p.b {
			right -= p.b
		}
	}
	return left*p.b + right
}

// mix is SplitMix64's finalizer (Steele, Lea and Flood 2014): every bit in moves every bit out.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
