package loader

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Ways to choose what leaves a full buffer.
const (
	ReplayFIFO      = "fifo"      // the oldest
	ReplayRandom    = "random"    // any
	ReplayReservoir = "reservoir" // any, or the newcomer: each sample of the stream stays with equal probability
	ReplayBalanced  = "balanced"  // any of a source that has the most in the buffer

	// ReplayMinRedundancy is the sample whose embedding lies closest to another's (MinRed, arXiv 2203.12710).
	ReplayMinRedundancy = "min_redundancy"
)

// policy chooses what leaves a buffer that is full. Its choice depends on the buffer's samples, their slots and their
// numbers alone, not on how they came there: a buffer that was restored chooses alike.
type policy interface {
	// victim returns the sample that goes for newcomer, which is not in the buffer yet and may be the one.
	victim(b *buffer, newcomer *kept, rng *rand.Rand) *kept
	// entered, left and described keep what the choice is made from. They are told after the fact.
	entered(*kept)
	left(*kept)
	described(*kept)
}

func newPolicy(o ReplayOptions) (policy, error) {
	switch o.Policy {
	case ReplayFIFO:
		return fifo{}, nil
	case ReplayRandom:
		return anyone{}, nil
	case ReplayReservoir:
		return reservoir{window: o.Window}, nil
	case ReplayBalanced:
		return newBalanced(), nil
	case ReplayMinRedundancy:
		return &minRedundancy{samples: map[uint64]*kept{}}, nil
	}
	return nil, fmt.Errorf("make replay buffer: %q is no policy; use %s", o.Policy,
		strings.Join([]string{ReplayFIFO, ReplayRandom, ReplayReservoir, ReplayBalanced, ReplayMinRedundancy}, ", "))
}

// unmoved is a policy's part that nothing has to be told.
type unmoved struct{}

func (unmoved) entered(*kept)   {}
func (unmoved) left(*kept)      {}
func (unmoved) described(*kept) {}

type fifo struct{ unmoved }

func (fifo) victim(b *buffer, _ *kept, _ *rand.Rand) *kept { return b.oldest() }

type anyone struct{ unmoved }

func (anyone) victim(b *buffer, _ *kept, rng *rand.Rand) *kept {
	return b.slots[rng.IntN(len(b.slots))]
}

// reservoir is Vitter's algorithm R (ACM TOMS 11, 1985): the n-th sample finds a place with probability size/n. With a
// window n stops growing there, so that what is older than about so many samples fades.
type reservoir struct {
	unmoved
	window uint64 // samples; 0: the whole stream
}

func (r reservoir) victim(b *buffer, newcomer *kept, rng *rand.Rand) *kept {
	n := newcomer.number + 1
	if r.window > 0 {
		n = min(n, r.window)
	}
	if i := rng.Uint64N(max(n, uint64(len(b.slots)))); i < uint64(len(b.slots)) {
		return b.slots[i]
	}
	return newcomer
}

// balanced keeps as many samples of each source as of any other, as far as they come: what leaves is of a source that
// has the most.
type balanced struct {
	members map[uint64][]*kept // by group, by number
	levels  map[int][]uint64   // groups by how many samples they have, sorted
	most    int
}

func newBalanced() *balanced {
	return &balanced{members: map[uint64][]*kept{}, levels: map[int][]uint64{}}
}

func (p *balanced) victim(_ *buffer, newcomer *kept, rng *rand.Rand) *kept {
	members := p.members[newcomer.group]
	if len(members) < p.most { // else it would have more than any
		top := p.levels[p.most]
		members = p.members[top[rng.IntN(len(top))]]
	}
	return members[rng.IntN(len(members))]
}

func (p *balanced) entered(k *kept) {
	members := p.members[k.group]
	p.move(k.group, len(members), len(members)+1)
	p.members[k.group] = append(members, k)
}

func (p *balanced) left(k *kept) {
	members := p.members[k.group]
	p.move(k.group, len(members), len(members)-1)
	at, _ := slices.BinarySearchFunc(members, k.number, func(m *kept, number uint64) int { return compareNumbers(m.number, number) })
	members = slices.Delete(members, at, at+1)
	if len(members) == 0 {
		delete(p.members, k.group)
		return
	}
	p.members[k.group] = members
}

func (p *balanced) described(*kept) {}

func compareNumbers(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// move notes that a group has so many samples now.
func (p *balanced) move(group uint64, from, to int) {
	if level, found := p.levels[from], 0; from > 0 {
		found, _ = slices.BinarySearch(level, group)
		p.levels[from] = slices.Delete(level, found, found+1)
	}
	if to > 0 {
		at, _ := slices.BinarySearch(p.levels[to], group)
		p.levels[to] = slices.Insert(p.levels[to], at, group)
	}
	p.most = max(p.most, to)
	for p.most > 0 && len(p.levels[p.most]) == 0 {
		delete(p.levels, p.most)
		p.most--
	}
}
