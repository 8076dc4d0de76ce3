package loader

import (
	"math/rand/v2"
	"runtime"

	"mocostream/internal/nearest"
)

// minRedundancy keeps what differs: of the samples that steps have embedded, the one whose nearest other is nearest goes
// (MinRed, arXiv 2203.12710, section 3.2, one sample at a time). Until two are embedded the oldest goes.
type minRedundancy struct {
	set     *nearest.Set // nil: nothing is embedded yet
	samples map[uint64]*kept
}

func (p *minRedundancy) victim(b *buffer, _ *kept, _ *rand.Rand) *kept {
	if p.set != nil {
		if number, ok := p.set.Densest(); ok {
			return p.samples[number]
		}
	}
	return b.oldest()
}

func (p *minRedundancy) entered(k *kept) {
	p.samples[k.number] = k
	if k.feature != nil {
		p.described(k)
	}
}

func (p *minRedundancy) left(k *kept) {
	delete(p.samples, k.number)
	if p.set != nil {
		p.set.Delete(k.number)
	}
}

func (p *minRedundancy) described(k *kept) {
	if p.set == nil { // half of the processors: pool and trainer work at the same time
		p.set = nearest.New(len(k.feature), (runtime.GOMAXPROCS(0)+1)/2)
	}
	p.set.Put(k.number, k.feature)
}
