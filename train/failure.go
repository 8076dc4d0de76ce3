package train

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ErrLost says that the device failed within a step: the variables that it was to change are lost. The trainer is of no
// use any more; a new one goes on from a checkpoint.
var ErrLost = errors.New("the device failed, and weights are lost with the step")

// OutOfMemoryError says that the device's memory is too small for the step. To try again is of no use.
type OutOfMemoryError struct {
	Need, Free int64 // bytes: what could not be allocated, and what was free; 0 where the backend does not say
	Batch      int   // images computed at once: of the step, or of a part
	Fits       int   // a batch, or a part of one, that should do, in proportion; 0: none
	Err        error // the backend's words
}

// Error says need, room and remedy in one line; the backend's own words are Unwrap's, and may be pages.
func (e *OutOfMemoryError) Error() string {
	text := "the device's memory is too small for a step of " + strconv.Itoa(e.Batch) + " images: "
	switch {
	case e.Need > 0 && e.Free > 0:
		text += fmt.Sprintf("%s are needed in one piece and %s are free", gibibytes(e.Need), gibibytes(e.Free))
	case e.Need > 0:
		text += gibibytes(e.Need) + " are needed in one piece, and the backend does not say how much is free"
	default:
		text += "the backend does not say how much is needed"
	}
	if e.Fits == 0 {
		return text + "; use a smaller encoder or smaller views (train.arch, augment.size)"
	}
	return text + fmt.Sprintf("; %d or less should fit, in proportion: set train.batch, or train.accumulate for parts of it", e.Fits)
}

// Unwrap returns the backend's error.
func (e *OutOfMemoryError) Unwrap() error { return e.Err }

// failed explains an error of the device while it did something: memory that is too small, or else lost, if not nil.
func (t *Trainer) failed(doing string, err, lost error) error {
	if e := outOfMemory(err, t.options.Batch/t.options.parts(), max(t.options.groups(), t.options.devices())); e != nil {
		return fmt.Errorf("%s: %w", doing, e)
	}
	if lost != nil {
		return fmt.Errorf("%s: %w: %w", doing, lost, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// XLA's allocators say it in these words.
var (
	exhausted  = regexp.MustCompile(`(?i)RESOURCE_EXHAUSTED|\bout of memory\b`)
	allocating = regexp.MustCompile(`(?i)(?:allocat(?:e|ing)|reserve|request for) (?:of )?([0-9.]+) ?([KMGT]?)i?(?:B|bytes)?\b`)
	freeBytes  = regexp.MustCompile(`(?i)([0-9.]+) ?([KMGT]?)i?(?:B|bytes)? (?:is |are )?free\b`)
	poolLimit  = regexp.MustCompile(`Limit: +([0-9]+)()`)
	poolInUse  = regexp.MustCompile(`InUse: +([0-9]+)()`)
)

// outOfMemory reads a backend's error; nil if it is of another kind. The batch that fits is in proportion to the piece that
// did not, which is nearly all activations, or half of it where sizes are not known; BatchNorm groups divide it.
func outOfMemory(err error, batch, groups int) *OutOfMemoryError {
	text := err.Error()
	if !exhausted.MatchString(text) {
		return nil
	}
	e := &OutOfMemoryError{Need: bytesIn(allocating, text), Free: bytesIn(freeBytes, text), Batch: batch, Err: err}
	if limit := bytesIn(poolLimit, text); e.Free == 0 && limit > 0 {
		e.Free = max(limit-bytesIn(poolInUse, text), 0)
	}
	fits := batch / 2
	if e.Need > 0 && e.Free > 0 {
		fits = min(int(float64(batch)*float64(e.Free)/float64(e.Need)), batch-1)
	}
	if e.Fits = fits / max(groups, 1) * max(groups, 1); e.Fits < 2 {
		e.Fits = 0
	}
	return e
}

// bytesIn reads the size that a pattern finds: a number and a binary prefix. 0 if there is none.
func bytesIn(pattern *regexp.Regexp, text string) int64 {
	m := pattern.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0
	}
	return int64(n * float64(int64(1)<<(10*strings.Index(" KMGT", strings.ToUpper(m[2] + " ")[:1]))))
}

func gibibytes(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
