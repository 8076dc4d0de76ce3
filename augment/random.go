package augment

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"mocostream/ingest"
)

// Key names the random numbers of one drawing of one sample: the same key gives the same numbers on every machine and
// worker, whatever was drawn before. It is a value, made anew for every sample; there is no state to save.
type Key struct {
	philox [2]uint32
	stream [2]uint32
}

// NewKey returns the key of sample id in an epoch of a run's seed. All that tells samples apart goes through SHA-256, so
// streams of different samples are unrelated however alike their ids are.
func NewKey(seed uint64, epoch int64, id ingest.ID) Key {
	var room [160]byte // a source is a hash or a few short names: no allocation
	b := binary.LittleEndian.AppendUint64(room[:0], seed)
	b = binary.LittleEndian.AppendUint64(b, uint64(epoch))
	b = binary.LittleEndian.AppendUint32(b, uint32(id.Partition))
	b = binary.LittleEndian.AppendUint64(b, uint64(id.Offset))
	b = binary.LittleEndian.AppendUint32(b, uint32(id.Item))
	b = append(b, id.Source...) // last, the others being of fixed length
	h := sha256.Sum256(b)
	return Key{
		philox: [2]uint32{binary.LittleEndian.Uint32(h[0:]), binary.LittleEndian.Uint32(h[4:])},
		stream: [2]uint32{binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])},
	}
}

// Draw returns the key of another drawing of the same sample, such as a replay at step n. Draw(0) is the key itself, and
// no two drawings of a sample share numbers.
func (k Key) Draw(n uint64) Key {
	k.stream[0] ^= uint32(n)
	k.stream[1] ^= uint32(n >> 32)
	return k
}

// Rand returns a generator at the start of a view's numbers. It allocates; a worker holds a Generators.
func (k Key) Rand(view int) *rand.Rand { return rand.New(newPhilox(k, view)) }

// Generators are the generators of one worker, made once and set to key after key. One goroutine uses them at a time.
type Generators struct {
	key   Key
	views []generator
}

type generator struct {
	source philox
	rand   *rand.Rand
}

// NewGenerators makes the generators of as many views.
func NewGenerators(views int) *Generators {
	g := &Generators{views: make([]generator, views)}
	for i := range g.views {
		g.views[i].rand = rand.New(&g.views[i].source)
	}
	return g
}

// Reset goes on to the sample of key. What Rand returned before must not be used any more.
func (g *Generators) Reset(key Key) { g.key = key }

// Rand returns the generator of a view, at the start of its numbers, in the same state as Key.Rand.
func (g *Generators) Rand(view int) *rand.Rand {
	v := &g.views[view]
	v.source = *newPhilox(g.key, view)
	return v.rand
}

// philox is Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3, as a
// rand.Source. Its counter is the block's number, the view, and the key's stream.
type philox struct {
	key     [2]uint32
	counter [4]uint32
	second  uint64 // the other half of the last block
	ready   bool
}

var _ rand.Source = (*philox)(nil)

func newPhilox(k Key, view int) *philox {
	return &philox{key: k.philox, counter: [4]uint32{0, uint32(view), k.stream[0], k.stream[1]}}
}

// Uint64 returns 64 random bits. A view has 2^33 of them before they repeat.
func (p *philox) Uint64() uint64 {
	if p.ready {
		p.ready = false
		return p.second
	}
	b := philox4x32(p.counter, p.key)
	p.counter[0]++
	p.second, p.ready = uint64(b[3])<<32|uint64(b[2]), true
	return uint64(b[1])<<32 | uint64(b[0])
}

// philox4x32 is the bijection: ten rounds, each two 32x32-bit products, the key raised by Weyl constants between them.
func philox4x32(c [4]uint32, k [2]uint32) [4]uint32 {
	for range 10 {
		hi0, lo0 := bits.Mul32(0xD2511F53, c[0])
		hi1, lo1 := bits.Mul32(0xCD9E8D57, c[2])
		c = [4]uint32{hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0}
		k[0] += 0x9E3779B9
		k[1] += 0xBB67AE85
	}
	return c
}
