package loader

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// BadRule stops a run in which too many samples cannot be decoded. The zero value never does.
type BadRule struct {
	// MaxFraction is the share of bad samples among the last Window that is still accepted, 0..1.
	MaxFraction float64
	// Window is the number of samples, 0 turns the rule off.
	Window int
}

// minSeen is how many samples must have been seen before their share of bad ones says something.
const minSeen = 100

// Note counts the sample at position, which follows the one noted before, in t.Bad. It returns a *TooManyBadError when
// more than MaxFraction of the last Window samples are bad; from the start of a run the share is that of the samples so
// far, once there are 100 (or Window), but as many as a whole window accepts end it at once. A window without one good
// sample ends it whatever MaxFraction says: no step would ever come.
//
// The result depends on the positions and what is bad alone: a run resumed from t stops where an uninterrupted one would.
func (r BadRule) Note(t *Token, position uint64, bad bool) error {
	if r.Window <= 0 {
		return nil
	}
	window := uint64(r.Window)
	passed, _ := slices.BinarySearchFunc(t.Bad, position, func(p, position uint64) int {
		if position-p >= window {
			return -1
		}
		return 1
	})
	t.Bad = t.Bad[passed:]
	if bad {
		t.Bad = append(t.Bad, position)
	}
	seen := min(position+1, window)
	count := float64(len(t.Bad))
	if len(t.Bad) == r.Window || count > r.MaxFraction*float64(window) || seen >= min(window, minSeen) && count > r.MaxFraction*float64(seen) {
		return &TooManyBadError{Bad: len(t.Bad), Seen: int(seen), MaxFraction: r.MaxFraction}
	}
	return nil
}

// TooManyBadError says that a run was stopped because Bad of the last Seen samples could not be decoded.
type TooManyBadError struct {
	Bad, Seen   int
	MaxFraction float64
}

func (e *TooManyBadError) Error() string {
	return fmt.Sprintf("%d of the last %d samples cannot be decoded, more than loader.max_bad_fraction = %g accepts; "+
		"the dead letters say which and why: start a new run without them, or raise loader.max_bad_fraction",
		e.Bad, e.Seen, e.MaxFraction)
}

// MaxKept is the largest image in bytes that a dead letter keeps: copies count against no budget.
const MaxKept = 1 << 20

// NewDeadLetter describes s, which could not be decoded. It copies what it keeps, so that s may be released; an image
// larger than MaxKept is described and not kept.
func NewDeadLetter(s *Sample, reason, detail string, keepImage bool) DeadLetter {
	image := s.Image()
	sum := sha256.Sum256(image)
	d := DeadLetter{
		ID:       s.ID(),
		Key:      s.Key(),
		Reason:   reason,
		Detail:   detail,
		Bytes:    len(image),
		SHA256:   hex.EncodeToString(sum[:]),
		Position: s.Position,
	}
	if keepImage && len(image) <= MaxKept {
		d.Image = slices.Clone(image)
	}
	return d
}
