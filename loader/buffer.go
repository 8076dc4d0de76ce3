package loader

import (
	"math/rand/v2"
	"slices"

	"mocostream/ingest"
)

// ReplayCounts is what happened to the samples of a buffer so far.
type ReplayCounts struct {
	Admitted uint64 `json:"admitted"` // taken from the source, those that found no place included
	Evicted  uint64 `json:"evicted"`  // that left, or found no place
	Undrawn  uint64 `json:"undrawn"`  // of those: before any draw
	Bad      uint64 `json:"bad"`      // of those: because they cannot be decoded
	Purged   uint64 `json:"purged"`   // of those: because their source deleted them
}

// buffer holds the samples that a replay draws from. All that happens to it is numbered by draws: what happens at draw p
// comes after what happened at draw p-1, and a checkpoint is of the moment before some draw.
//
// Samples lie in slots without gaps. One that leaves gives its slot to the last, so slots tell nothing of age; order does.
type buffer struct {
	size   int
	limit  int64 // bytes of images; 0: none
	policy policy

	images *segments
	memory int64 // most bytes of images that are held besides

	slots  []*kept
	bytes  int64
	held   int64 // of those, in memory
	counts ReplayCounts
	order  queue // by admission
	unseen queue // likewise, without those that were drawn
	undo   journal
}

// admit makes room for k, the next sample of the source, and puts it in, or not, as the policy has it. now is the draw
// that it happens before.
func (b *buffer) admit(k *kept, rng *rand.Rand, now uint64) error {
	b.counts.Admitted++
	for b.crowded(k) {
		victim := b.policy.victim(b, k, rng)
		if victim == k {
			b.counts.Evicted++
			b.counts.Undrawn++
			return nil
		}
		b.evict(victim, now)
	}
	var err error
	if k.at, err = b.images.append(k.image); err != nil {
		return err
	}
	k.slot = len(b.slots)
	b.undo.note(change{at: now, kind: putIn})
	b.slots = append(b.slots, k)
	b.enter(k)
	if b.images.full() {
		return b.roll(now)
	}
	return nil
}

// roll begins a new segment, and moves into it what is left in old ones that are nearly empty.
func (b *buffer) roll(now uint64) error {
	if err := b.images.roll(); err != nil {
		return err
	}
	for old := b.images.sparsest(); old != nil; old = b.images.sparsest() {
		for _, k := range b.slots {
			if k.at.segment != old.id {
				continue
			}
			if err := b.move(k, now); err != nil {
				return err
			}
		}
		if b.images.full() {
			if err := b.images.roll(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *buffer) move(k *kept, now uint64) error {
	image, err := k.image, error(nil)
	if image == nil {
		if image, err = b.images.load(k.at); err != nil {
			return err
		}
	}
	to, err := b.images.append(image)
	if err != nil {
		return err
	}
	b.undo.note(change{at: now, kind: moved, sample: k, place: k.at})
	b.images.drop(k.at, now)
	b.images.hold(to)
	k.at = to
	return nil
}

// crowded says whether another has to go before k comes. One that is larger than the limit is let in alone.
func (b *buffer) crowded(k *kept) bool {
	return len(b.slots) >= b.size || len(b.slots) > 0 && b.limit > 0 && b.bytes+int64(len(k.image)) > b.limit
}

// enter tells all who count that k, which has a slot, is there.
func (b *buffer) enter(k *kept) {
	b.bytes += k.at.length
	b.images.hold(k.at)
	if b.held+int64(len(k.image)) > b.memory {
		k.image = nil
	}
	b.held += int64(len(k.image))
	b.order.push(k, len(b.slots))
	if k.visits == 0 {
		b.unseen.push(k, len(b.slots))
	}
	b.policy.entered(k)
}

// evict takes a sample out.
func (b *buffer) evict(k *kept, now uint64) {
	b.undo.note(change{at: now, kind: takenOut, sample: k, slot: k.slot})
	last := b.slots[len(b.slots)-1]
	b.slots[k.slot], last.slot = last, k.slot
	b.slots[len(b.slots)-1] = nil
	b.slots = b.slots[:len(b.slots)-1]
	k.slot = -1
	b.bytes -= k.at.length
	b.held -= int64(len(k.image))
	b.images.drop(k.at, now)
	k.image = nil // queues may hold on to k for a while
	b.counts.Evicted++
	if k.visits == 0 {
		b.counts.Undrawn++
	}
	b.policy.left(k)
}

// purge takes a deletion from the source: what came under the key goes. Its bytes go with its segment.
func (b *buffer) purge(key string, now uint64) {
	b.counts.Admitted++
	if key == "" {
		return
	}
	for i := len(b.slots) - 1; i >= 0; i-- { // the last one takes the place of what goes
		if k := b.slots[i]; k.row.Key == key {
			b.evict(k, now)
			b.counts.Purged++
		}
	}
}

// visit counts a draw of k.
func (b *buffer) visit(k *kept, now uint64) {
	b.undo.note(change{at: now, kind: visited, sample: k})
	k.visits++
}

// describe gives k a feature, which must not be written to any more.
func (b *buffer) describe(k *kept, feature []float32, now uint64) {
	b.undo.note(change{at: now, kind: described, sample: k, feature: k.feature})
	k.feature = feature
	b.policy.described(k)
}

// queue is samples in the order of their admission. Those that do not belong there any more are left out lazily.
type queue struct {
	all  []*kept
	live func(*kept) bool
}

// push adds k; of all in the queue at most n are live.
func (q *queue) push(k *kept, n int) {
	if len(q.all) > n+n/4+64 {
		live := q.all[:0]
		for _, k := range q.all {
			if q.live(k) {
				live = append(live, k)
			}
		}
		clear(q.all[len(live):])
		q.all = live
	}
	q.all = append(q.all, k)
}

// first returns the first live sample that is wanted, of the first most that are live; nil if there is none.
func (q *queue) first(most int, wanted func(*kept) bool) *kept {
	for len(q.all) > 0 && !q.live(q.all[0]) {
		q.all[0] = nil
		q.all = q.all[1:]
	}
	for _, k := range q.all {
		if !q.live(k) {
			continue
		}
		if wanted(k) {
			return k
		}
		if most--; most == 0 {
			return nil
		}
	}
	return nil
}

func here(k *kept) bool       { return k.slot >= 0 }
func hereUnseen(k *kept) bool { return k.slot >= 0 && k.visits == 0 }
func any1(*kept) bool         { return true }

// oldest is the sample that came in first.
func (b *buffer) oldest() *kept { return b.order.first(1, any1) }

// restored counts anew what is in the slots, and returns it by number.
func (b *buffer) restored() map[uint64]*kept {
	byNumber := make(map[uint64]*kept, len(b.slots))
	for i, k := range b.slots {
		k.slot = i
		byNumber[k.number] = k
	}
	byAge := slices.SortedFunc(slices.Values(b.slots), func(x, y *kept) int { return compareNumbers(x.number, y.number) })
	for _, k := range byAge {
		b.enter(k)
	}
	return byNumber
}

// render puts a sample into rows. An image that has room in memory stays there.
func (b *buffer) render(rows *ingest.Builder, k *kept) (err error) {
	image := k.image
	if image == nil && k.at.length > 0 {
		if image, err = b.images.load(k.at); err != nil {
			return err
		}
		if b.held+k.at.length <= b.memory {
			k.image = image
			b.held += k.at.length
		}
	}
	rows.Append(k.row, image)
	return nil
}

func (b *buffer) mark() mark {
	return mark{b.counts, b.images.current.id, b.images.current.bytes}
}
