package loader

import "slices"

// journal remembers what happened to a buffer since some draw, so that a checkpoint of that draw can be made although the
// buffer has run ahead.
type journal struct{ changes []change }

// change is one thing that happened, with what it takes to undo it.
type change struct {
	at      uint64 // the draw that it happened before or with
	kind    changeKind
	sample  *kept
	slot    int       // takenOut: where it was
	feature []float32 // described: the one before
	place   location  // moved: the one before
}

type changeKind int

const (
	putIn     changeKind = iota // at the end of the slots
	takenOut                    // the last one has its slot now
	visited                     // visits grew by one
	described                   // it has another feature
	moved                       // its image lies elsewhere
)

func (j *journal) note(c change) { j.changes = append(j.changes, c) }

// settle forgets what happened before draw p.
func (j *journal) settle(p uint64) {
	n := 0
	for n < len(j.changes) && j.changes[n].at < p {
		n++
	}
	j.changes = slices.Delete(j.changes, 0, n)
}

// past is a sample as it was.
type past struct {
	*kept
	visits  int64
	feature []float32
	at      location
}

// before returns the samples as they were before draw p, in their slots.
func (j *journal) before(p uint64, slots []*kept) []past {
	then := slices.Clone(slots)
	visits := map[*kept]int64{}
	features := map[*kept][]float32{}
	places := map[*kept]location{}
	for i := len(j.changes) - 1; i >= 0 && j.changes[i].at >= p; i-- {
		switch c := j.changes[i]; c.kind {
		case putIn:
			then = then[:len(then)-1]
		case takenOut:
			then = undoRemoval(then, c)
		case visited:
			visits[c.sample]++
		case described:
			features[c.sample] = c.feature
		case moved:
			places[c.sample] = c.place
		}
	}
	all := make([]past, len(then))
	for i, k := range then {
		all[i] = past{kept: k, visits: k.visits - visits[k], feature: k.feature, at: k.at}
		if place, ok := places[k]; ok {
			all[i].at = place
		}
		if feature, ok := features[k]; ok {
			all[i].feature = feature
		}
	}
	return all
}

// undoRemoval puts a sample back into its slot, and the one that has it now back to the end.
func undoRemoval(slots []*kept, c change) []*kept {
	if c.slot == len(slots) {
		return append(slots, c.sample)
	}
	slots = append(slots, slots[c.slot])
	slots[c.slot] = c.sample
	return slots
}
