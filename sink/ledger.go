package sink

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/train"
)

// LedgerFile is the name of the ledger in a run folder.
const LedgerFile = "ledger.bin"

// LedgerKey is where a checkpoint's Extra keeps where the ledger ends.
const LedgerKey = "ledger"

// Ledger records which samples each step took, from the batches themselves and never from Progress, so that the two can
// be held against each other (CheckLedger). A batch's samples are written before its step and confirmed after it. A
// checkpoint refers to the end of the file, and a run that resumes cuts it there: what is left is the history that
// survived. It needs a few bytes a sample on disk and no memory to speak of. Its methods may be called concurrently.
type Ledger struct {
	path  string
	begun string // why it does not go on from the checkpoint's; "" if it does

	mu     sync.Mutex
	file   *os.File
	end    ledgerEnd
	open   bool // the last entry is a batch whose step is not finished
	passed map[string]ingest.Offsets
}

// ledgerEnd is what a checkpoint's Extra keeps: where a ledger's history ends, and a sum that tells it from another's.
type ledgerEnd struct {
	Bytes int64  `json:"bytes"`
	Sum   uint32 `json:"sum"` // of the last entry, which covers those before
}

// OpenLedger opens the ledger of the run folder dir to go on from a checkpoint (nil: from the start), and cuts off what
// the checkpoint does not know of. Where the folder does not hold the checkpoint's ledger (none was kept, it was deleted,
// another machine wrote it), one is begun that says what had been consumed before; see Begun. The folder must be this
// process's (see Store).
func OpenLedger(dir string, from *train.Checkpoint) (*Ledger, error) {
	path := filepath.Join(dir, LedgerFile)
	l := &Ledger{path: path, passed: map[string]ingest.Offsets{}}
	err := l.resume(from)
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		if l.file != nil {
			err = errors.Join(err, l.file.Close())
		}
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	return l, nil
}

// Begun says, for a person, why the ledger was begun in the middle of the run; "" if it was not.
func (l *Ledger) Begun() string { return l.begun }

func (l *Ledger) resume(from *train.Checkpoint) (err error) {
	end, err := endOfLedger(from)
	if err != nil {
		return err
	}
	if l.file, err = os.OpenFile(l.path, os.O_CREATE|os.O_RDWR, 0o644); err != nil {
		return err
	}
	if from == nil {
		return l.begin(ingest.Progress{})
	}
	if l.begun, err = end.wrong(l.file); err != nil {
		return err
	}
	if l.begun == "" {
		l.end = end
		return l.file.Truncate(end.Bytes)
	}
	if err := l.setAside(); err != nil {
		return err
	}
	return l.begin(from.Token.Progress)
}

// begin makes the file an empty ledger of a run that has consumed p before.
func (l *Ledger) begin(p ingest.Progress) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	l.end = ledgerEnd{}
	body, err := beganBody(p)
	if err != nil {
		return err
	}
	if _, err := l.file.WriteAt([]byte(ledgerHead), 0); err != nil {
		return err
	}
	l.end.Bytes = int64(len(ledgerHead))
	return l.append(body)
}

// setAside keeps another history's ledger under another name.
func (l *Ledger) setAside() error {
	info, err := l.file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	if err := errors.Join(l.file.Close(), os.Rename(l.path, l.path+".other")); err != nil {
		return err
	}
	l.file, err = os.OpenFile(l.path, os.O_CREATE|os.O_RDWR, 0o644)
	return err
}

// endOfLedger returns where a checkpoint says that the ledger ends; zero without a checkpoint or a ledger.
func endOfLedger(c *train.Checkpoint) (end ledgerEnd, err error) {
	if c == nil || c.Extra[LedgerKey] == nil {
		return end, nil
	}
	if err := json.Unmarshal(c.Extra[LedgerKey], &end); err != nil {
		return end, fmt.Errorf("%s of the checkpoint: %w", LedgerKey, err)
	}
	if end.Bytes <= int64(len(ledgerHead)) {
		return end, fmt.Errorf("%s of the checkpoint: no ledger has %d bytes", LedgerKey, end.Bytes)
	}
	return end, nil
}

// wrong says why a file is not the ledger that ends here; "" if it is.
func (e ledgerEnd) wrong(file *os.File) (why string, err error) {
	if e == (ledgerEnd{}) {
		return "the checkpoint was made without a ledger", nil
	}
	var sum [4]byte
	_, err = file.ReadAt(sum[:], e.Bytes-int64(len(sum)))
	if errors.Is(err, io.EOF) {
		return fmt.Sprintf("the checkpoint refers to %d bytes, which %s does not have", e.Bytes, LedgerFile), nil
	}
	if err == nil && binary.LittleEndian.Uint32(sum[:]) != e.Sum {
		why = fmt.Sprintf("%s is not of the checkpoint's history", LedgerFile)
	}
	return why, err
}

// Take writes down the samples of a batch, and the dead letters with it, before its step.
func (l *Ledger) Take(b *augment.Batch) error {
	body, err := takenBody(b)
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		return errors.New("write ledger: a batch is taken before the step of the one before it is finished")
	}
	l.open = true
	return l.append(body)
}

// Finish confirms the batch taken last: step, which it was the batch of, is finished.
func (l *Ledger) Finish(step int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return fmt.Errorf("write ledger: step %d is finished, but no batch was taken for it", step)
	}
	l.open = false
	return l.append(finishedBody(step))
}

// Repeated remembers that a sample came before and is passed over, until a checkpoint says that it is consumed.
func (l *Ledger) Repeated(id ingest.ID) {
	l.pass(ingest.Span{Source: id.Source, Partition: id.Partition, Start: id.Offset, End: id.Offset + 1})
}

// pass remembers offsets that a stream says will never be samples, until a checkpoint says that they are consumed.
func (l *Ledger) pass(s ingest.Span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.passed[s.Source] == nil {
		l.passed[s.Source] = ingest.Offsets{}
	}
	l.passed[s.Source][s.Partition] = l.passed[s.Source][s.Partition].Add(s.Start, s.End)
}

// settle writes down what is passed over and consumed. A reader runs ahead of the steps, and what it passes over beyond a
// checkpoint the next process may see otherwise.
func (l *Ledger) settle(p ingest.Progress) error {
	var spans []ingest.Span
	for _, source := range slices.Sorted(maps.Keys(l.passed)) {
		for _, partition := range slices.Sorted(maps.Keys(l.passed[source])) {
			passed, consumed := l.passed[source][partition], p.Streams[source][partition]
			for _, i := range within(passed, consumed) {
				spans = append(spans, ingest.Span{Source: source, Partition: partition, Start: i.Start, End: i.End})
			}
			l.passed[source][partition] = without(passed, consumed)
		}
	}
	if len(spans) == 0 {
		return nil
	}
	return l.append(passedBody(spans))
}

// append writes where the last entry ends and not at the end of the file: what an earlier failed write left is written
// over. l.mu is held.
func (l *Ledger) append(body []byte) error {
	if len(body) > maxLedgerEntry {
		return fmt.Errorf("write ledger: an entry of %d bytes is longer than %d", len(body), maxLedgerEntry)
	}
	entry, sum := frame(l.end.Sum, body)
	if _, err := l.file.WriteAt(entry, l.end.Bytes); err != nil {
		return fmt.Errorf("write ledger: %w", errors.Join(err, l.file.Truncate(l.end.Bytes)))
	}
	l.end = ledgerEnd{Bytes: l.end.Bytes + int64(len(entry)), Sum: sum}
	return nil
}

// Seal makes the ledger durable and has the checkpoint refer to its end. It is called between steps, before the
// checkpoint is saved.
func (l *Ledger) Seal(c *train.Checkpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		return errors.New("seal ledger: a step is not finished")
	}
	if err := l.settle(c.Token.Progress); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync ledger: %w", err)
	}
	if c.Extra == nil {
		c.Extra = map[string]json.RawMessage{}
	}
	var err error
	c.Extra[LedgerKey], err = json.Marshal(l.end)
	return err
}

// Close syncs and closes the file.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.file.Sync(), l.file.Close())
}
