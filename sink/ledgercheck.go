package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"mocostream/ingest"
	"mocostream/train"
)

// LedgerReport is what a ledger says of the history that a checkpoint keeps.
type LedgerReport struct {
	FirstStep int64 `json:"first_step"` // 1, unless the ledger was begun later; 0: no step yet
	LastStep  int64 `json:"last_step"`
	Samples   int64 `json:"samples"` // that finished steps took
	// Admitted counts the samples that a replay buffer took for these steps, and all that follows is of them; 0 without one.
	Admitted int64 `json:"admitted,omitempty"`
	Dead     int64 `json:"dead"`   // that could not be decoded
	Passed   int64 `json:"passed"` // offsets that were never samples, or came again
	// Missing counts the samples that should have been in a step and were in none: those that Progress says are consumed,
	// those between the first and the last of a partition, and those of a bounded source's finished epochs.
	Missing int64 `json:"missing"`
	// Repeated counts the times that a sample was in a step although it had been in one before (in that epoch).
	Repeated int64 `json:"repeated"`
	// Pending counts the offsets, of those between the first and the last of a partition, that Progress does not say are
	// consumed either: a run that goes on reads them. 0 without a checkpoint: they are Missing then.
	Pending int64 `json:"pending"`
	// Unrecorded counts the samples in a step that Progress does not say are consumed: a run that goes on would repeat them.
	Unrecorded int64 `json:"unrecorded"`
	// Findings describes the first things that are wrong, for a person.
	Findings []string `json:"findings,omitempty"`
}

// maxFindings bounds LedgerReport.Findings.
const maxFindings = 10

// Exact says whether every sample was in exactly one step (an epoch), as far as the ledger reaches.
func (r *LedgerReport) Exact() bool { return r.Missing == 0 && r.Repeated == 0 && r.Unrecorded == 0 }

// found describes something wrong.
func (r *LedgerReport) found(format string, args ...any) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

// CheckLedger counts what the ledger of the run folder dir says of the history up to a checkpoint, and holds it against
// the checkpoint's Progress; with nil it reads the whole file. manifest opens the list of a bounded source by its hash, to
// be closed by CheckLedger; such sources cost four bytes of memory a sample, streams next to none. The error wraps
// ErrLedger where the ledger is damaged or is not of this checkpoint, fs.ErrNotExist where there is none.
func CheckLedger(ctx context.Context, dir string, c *train.Checkpoint, manifest func(hash string) (*ingest.Manifest, error)) (LedgerReport, error) {
	path := filepath.Join(dir, LedgerFile)
	r, err := checkLedger(ctx, path, c, manifest)
	if err != nil {
		return LedgerReport{}, fmt.Errorf("check %s: %w", path, err)
	}
	return r, nil
}

func checkLedger(ctx context.Context, path string, c *train.Checkpoint, manifest func(hash string) (*ingest.Manifest, error)) (LedgerReport, error) {
	f, err := os.Open(path)
	if err != nil {
		return LedgerReport{}, err
	}
	defer f.Close()
	length, err := lengthToCheck(f, c)
	if err != nil {
		return LedgerReport{}, err
	}
	a := audit{checkpoint: c, manifest: manifest, streams: map[partitionKey]*streamTally{}, passes: map[string]*passTally{}}
	for entry, err := range ledgerEntries(f, length) {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return LedgerReport{}, err
		}
		if err := a.entry(entry); err != nil {
			return LedgerReport{}, err
		}
	}
	return a.report()
}

// lengthToCheck is what belongs to the checkpoint's history.
func lengthToCheck(f *os.File, c *train.Checkpoint) (int64, error) {
	if c == nil {
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	end, err := endOfLedger(c)
	if err != nil {
		return 0, err
	}
	if end == (ledgerEnd{}) {
		return 0, fmt.Errorf("%w: the checkpoint of step %d was made without a ledger; set sink.ledger: true", fs.ErrNotExist, c.Step)
	}
	why, err := end.wrong(f)
	if err == nil && why != "" {
		err = fmt.Errorf("%w: %s", ErrLedger, why)
	}
	return end.Bytes, err
}

type partitionKey struct {
	source    string
	partition int32
}

func (k partitionKey) compare(other partitionKey) int {
	return cmp.Or(cmp.Compare(k.source, other.source), cmp.Compare(k.partition, other.partition))
}

// audit goes through a ledger.
type audit struct {
	LedgerReport
	checkpoint *train.Checkpoint
	manifest   func(hash string) (*ingest.Manifest, error)

	base    ingest.Progress // consumed before the ledger was begun
	taken   *ledgerEntry    // whose step is not confirmed
	streams map[partitionKey]*streamTally
	passes  map[string]*passTally
}

func (a *audit) entry(e ledgerEntry) error {
	switch e.kind {
	case ledgerBegan:
		a.base = e.progress
	case ledgerTaken, ledgerDrawn:
		if a.taken != nil {
			return fmt.Errorf("%w: after step %d two batches were taken for one step", ErrLedger, a.LastStep)
		}
		a.taken = &e
	case ledgerPassed:
		for _, s := range e.spans {
			t := a.stream(partitionKey{s.Source, s.Partition})
			t.passed = t.passed.Add(s.Start, s.End)
		}
	case ledgerFinished:
		return a.finished(e.step)
	}
	return nil
}

func (a *audit) finished(step int64) error {
	if a.taken == nil {
		return fmt.Errorf("%w: step %d took no batch", ErrLedger, step)
	}
	if a.FirstStep == 0 {
		a.FirstStep, a.LastStep = step, step-1
	}
	if step != a.LastStep+1 {
		return fmt.Errorf("%w: step %d follows step %d", ErrLedger, step, a.LastStep)
	}
	a.LastStep = step
	a.Samples += a.taken.rows
	a.Dead += int64(len(a.taken.dead))
	consumed := [][]ingest.ID{a.taken.samples, a.taken.dead}
	if a.taken.kind == ledgerDrawn {
		a.Admitted += int64(len(a.taken.samples))
		consumed = consumed[:1] // the bad ones were admitted
	}
	for _, ids := range consumed {
		for _, id := range ids {
			if err := a.count(id); err != nil {
				return err
			}
		}
	}
	a.taken = nil
	return nil
}

func (a *audit) count(id ingest.ID) error {
	if len(id.Source) == manifestHashLen {
		return a.countPass(id)
	}
	t := a.stream(partitionKey{id.Source, id.Partition})
	if !t.take(id) || a.base.Contains(id) {
		a.Repeated++
		a.found("%s: taken by step %d and before", name(id), a.LastStep)
	}
	return nil
}

func (a *audit) stream(key partitionKey) *streamTally {
	t := a.streams[key]
	if t == nil {
		t = &streamTally{}
		a.streams[key] = t
	}
	return t
}

func name(id ingest.ID) string {
	text := fmt.Sprintf("%s partition %d offset %d", id.Source, id.Partition, id.Offset)
	if id.Item != 0 {
		text += fmt.Sprintf(" item %d", id.Item)
	}
	return text
}

// report compares what was counted with the checkpoint.
func (a *audit) report() (LedgerReport, error) {
	if c := a.checkpoint; c != nil {
		if a.LastStep != 0 && a.LastStep != c.Step || a.taken != nil {
			return LedgerReport{}, fmt.Errorf("%w: it ends with step %d, the checkpoint is of step %d", ErrLedger, a.LastStep, c.Step)
		}
		if a.FirstStep == 1 && a.Samples != c.Samples {
			return LedgerReport{}, fmt.Errorf("%w: its steps took %d samples, the checkpoint counts %d", ErrLedger, a.Samples, c.Samples)
		}
		a.unseen()
	}
	for _, key := range slices.SortedFunc(maps.Keys(a.streams), partitionKey.compare) {
		a.reportStream(key, a.streams[key])
	}
	for _, hash := range slices.Sorted(maps.Keys(a.passes)) {
		a.reportPasses(a.passes[hash])
	}
	return a.LedgerReport, nil
}
