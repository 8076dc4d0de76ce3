package sink

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"mocostream/ingest"
)

// manifestHashLen is the length of a bounded source's name: its manifest's hash, hex.
const manifestHashLen = 2 * sha256.Size

// passTally is what a ledger says of one bounded source.
type passTally struct {
	hash   string
	starts []int64  // of each partition, in the order of the manifest; one more at the end
	counts []uint16 // by sample, how often it was taken
	total  int64
}

// errTooOften ends a check that would count beyond what a tally can hold.
var errTooOften = errors.New("more than 65,535 epochs are too many for the check")

func (a *audit) countPass(id ingest.ID) error {
	p, err := a.pass(id.Source)
	if err != nil {
		return err
	}
	if id.Partition < 0 || int(id.Partition) >= len(p.starts)-1 {
		return fmt.Errorf("%w: %s is not in the manifest", ErrLedger, name(id))
	}
	i := p.starts[id.Partition] + id.Offset
	if id.Offset < 0 || i >= p.starts[id.Partition+1] || id.Item != 0 {
		return fmt.Errorf("%w: %s is not in the manifest", ErrLedger, name(id))
	}
	if p.counts[i]++; p.counts[i] == 0 {
		return errTooOften
	}
	p.total++
	return nil
}

// pass returns the tally of a bounded source.
func (a *audit) pass(hash string) (*passTally, error) {
	if p := a.passes[hash]; p != nil {
		return p, nil
	}
	m, err := a.manifest(hash)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	p := &passTally{hash: hash, starts: make([]int64, 1, m.Len()+1), counts: make([]uint16, m.Samples())}
	for partition, err := range m.All() {
		if err != nil {
			return nil, err
		}
		p.starts = append(p.starts, p.starts[len(p.starts)-1]+partition.Count)
	}
	a.passes[hash] = p
	return p, nil
}

// reportPasses compares how often each sample was taken with how often the epochs so far must have taken it: once in each
// whole one, and at most once more in the part of one at either end.
func (a *audit) reportPasses(p *passTally) {
	size := int64(len(p.counts))
	before, consumed := a.consumed(p)
	head := (size - before) % size // of an epoch that had begun
	whole := max(consumed-head, 0) / size
	most := whole
	if head > 0 {
		most++
	}
	if consumed > head+whole*size {
		most++
	}
	var missing, repeated int64
	for i, n := range p.counts {
		if short := whole - int64(n); short > 0 {
			missing += short
			a.found("sample %d of source %s: in %d steps, %d epochs are done", i, p.hash, n, whole)
		}
		if extra := int64(n) - most; extra > 0 {
			repeated += extra
			a.found("sample %d of source %s: in %d steps, %d at most in %d epochs and a part", i, p.hash, n, most, whole)
		}
	}
	if p.total != consumed {
		a.found("source %s: %d samples are consumed, steps took %d", p.hash, consumed, p.total)
	}
	a.Missing += max(missing, consumed-p.total)
	a.Repeated += repeated
	a.Unrecorded += max(0, p.total-consumed-repeated)
}

// consumed returns how many samples of the epoch in which the ledger was begun were consumed before, and how many have
// been since: by the checkpoint, or else by the ledger alone.
func (a *audit) consumed(p *passTally) (before, since int64) {
	var start int64
	if b := a.base.Bounded; b != nil && b.Source == p.hash {
		before, start = b.Index, b.Epoch*int64(len(p.counts))+b.Index
	}
	if a.checkpoint == nil {
		return before, p.total
	}
	if at := a.checkpoint.Token.Progress.Bounded; at != nil && at.Source == p.hash {
		return before, at.Epoch*int64(len(p.counts)) + at.Index - start
	}
	return before, p.total // a sequence that went on to its next source
}
