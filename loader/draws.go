package loader

import (
	"math/rand/v2"
)

// drawn is one draw, kept until its outcome has taken effect and no batch can hold it any more.
type drawn struct {
	sample  *kept // nil: of an earlier process, and gone since
	number  uint64
	group   uint64
	bad     bool // the outcome: it cannot be decoded
	feature []float32
	after   mark // after this draw
}

// mark is what a buffer has come to at some draw.
type mark struct {
	counts  ReplayCounts
	segment uint64 // the current one
	bytes   int64  // in it
}

// drawLog is the draws from first on, in order.
type drawLog struct {
	first uint64
	all   []drawn
}

func (d *drawLog) at(p uint64) *drawn { return &d.all[p-d.first] }
func (d *drawLog) end() uint64        { return d.first + uint64(len(d.all)) }

// forget drops the draws before p, now and then.
func (d *drawLog) forget(p uint64) {
	if p < d.first+uint64(len(d.all))/2+1 {
		return
	}
	n := min(int(p-d.first), len(d.all))
	d.all = append(make([]drawn, 0, 2*(len(d.all)-n)+64), d.all[n:]...)
	d.first += uint64(n)
}

// recent counts what the latest draws took, as many as share a batch with the next.
type recent struct {
	samples map[uint64]int // by number
	groups  map[uint64]int
}

func newRecent() recent { return recent{map[uint64]int{}, map[uint64]int{}} }

func (r *recent) add(d *drawn, n int) {
	count(r.samples, d.number, n)
	count(r.groups, d.group, n)
}

func count(counts map[uint64]int, key uint64, n int) {
	if counts[key] += n; counts[key] == 0 {
		delete(counts, key)
	}
}

// drawTries is how many samples a draw looks at to find one that its batch does not have yet.
const drawTries = 64

// chooser finds the sample of a draw: uniform over the buffer, except that no batch has a sample twice and none has more
// than perGroup of a source, where a few tries find such a one; else the least crowded of those.
type chooser struct {
	perGroup int     // 0: any number
	fresh    float64 // share of draws that go to what no draw took yet, the oldest first
	recent   recent
}

func (c *chooser) choose(b *buffer, p uint64, rng *rand.Rand) *kept {
	if wantsFresh(c.fresh, p) {
		if k := b.unseen.first(drawTries, func(k *kept) bool { return c.crowding(k) == 0 }); k != nil {
			return k
		}
	}
	var best *kept
	least := 0
	for range drawTries {
		k := b.slots[rng.IntN(len(b.slots))]
		crowding := c.crowding(k)
		if crowding == 0 {
			return k
		}
		if best == nil || crowding < least {
			best, least = k, crowding
		}
	}
	return best
}

// crowding is 0 for a sample that the batch has room for. One that is in it already is worse than any of a source that is.
func (c *chooser) crowding(k *kept) int {
	const twice = 1 << 20
	crowding := twice * c.recent.samples[k.number]
	if n := c.recent.groups[k.group]; c.perGroup > 0 && n >= c.perGroup {
		crowding += n
	}
	return crowding
}

// wantsFresh spreads the share evenly over the draws.
func wantsFresh(share float64, p uint64) bool {
	return uint64(float64(p+1)*share) > uint64(float64(p)*share)
}
