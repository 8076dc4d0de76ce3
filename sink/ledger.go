package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/train"
)

// LedgerFile is the name of the ledger in a run folder.
const LedgerFile = "ledger.bin"

// LedgerKey is where a checkpoint's Extra keeps the length of the ledger.
const LedgerKey = "ledger"

// Ledger records which samples each step took, from the batches themselves and never from Progress, so that the two can
// be held against each other (CheckLedger). A batch's samples are written before its step and confirmed after it. A
// checkpoint refers to the length of the file, and a run that resumes cuts it there: what is left is the history that
// survived. It needs a few bytes a sample on disk and no memory to speak of. Its methods may be called concurrently.
type Ledger struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64 // bytes of whole entries
	open bool  // the last entry is a batch whose step is not finished
}

// OpenLedger opens the ledger of the run folder dir to go on from a checkpoint (nil: from the start), and cuts off what
// the checkpoint does not know of. A run that had no ledger, or whose ledger was deleted, begins one, which then says
// what had been consumed before. A ledger that is shorter than the checkpoint says is an error that wraps ErrChanged.
// The folder must be this process's (see Store).
func OpenLedger(dir string, from *train.Checkpoint) (*Ledger, error) {
	path := filepath.Join(dir, LedgerFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{path: path, file: f}
	if err = l.resume(from); err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", path, errors.Join(err, f.Close()))
	}
	return l, nil
}

func (l *Ledger) resume(from *train.Checkpoint) error {
	var progress ingest.Progress
	if from != nil {
		progress = from.Token.Progress
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	length, err := ledgerLength(from)
	if err != nil {
		return err
	}
	if length > 0 && info.Size() > 0 {
		if info.Size() < length {
			return fmt.Errorf("%w: the checkpoint refers to %d bytes, %d are left; delete it to begin a new one",
				ErrChanged, length, info.Size())
		}
		if err := checkLedgerHead(l.file); err != nil {
			return err
		}
		l.size = length
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	if l.size == 0 {
		if err := l.append([]byte(ledgerHead)); err != nil {
			return err
		}
	}
	opened, err := openedEntry(progress)
	if err != nil {
		return err
	}
	return l.append(opened)
}

// ledgerLength returns the length that a checkpoint refers to; 0 without a checkpoint or a ledger.
func ledgerLength(c *train.Checkpoint) (n int64, err error) {
	if c == nil || c.Extra[LedgerKey] == nil {
		return 0, nil
	}
	if err := json.Unmarshal(c.Extra[LedgerKey], &n); err != nil {
		return 0, fmt.Errorf("%s of the checkpoint: %w", LedgerKey, err)
	}
	if n <= int64(len(ledgerHead)) {
		return 0, fmt.Errorf("%s of the checkpoint: no ledger has %d bytes", LedgerKey, n)
	}
	return n, nil
}

// Take writes down the samples of a batch, and the dead letters with it, before its step.
func (l *Ledger) Take(b *augment.Batch) error {
	entry, err := takenEntry(b)
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		return errors.New("write ledger: a batch is taken before the step of the one before it is finished")
	}
	l.open = true
	return l.append(entry)
}

// Finish confirms the batch taken last: step, which it was the batch of, is finished.
func (l *Ledger) Finish(step int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return fmt.Errorf("write ledger: step %d is finished, but no batch was taken for it", step)
	}
	l.open = false
	return l.append(finishedEntry(step))
}

// passed writes down offsets that a stream says will never be samples.
func (l *Ledger) passed(spans []ingest.Span) error {
	if len(spans) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(passedEntry(spans))
}

// append writes at l.size and not at the end: what an earlier failed write left is written over. l.mu is held.
func (l *Ledger) append(entry []byte) error {
	if len(entry) > maxLedgerEntry {
		return fmt.Errorf("write ledger: an entry of %d bytes is longer than %d", len(entry), maxLedgerEntry)
	}
	if _, err := l.file.WriteAt(entry, l.size); err != nil {
		return fmt.Errorf("write ledger: %w", errors.Join(err, l.file.Truncate(l.size)))
	}
	l.size += int64(len(entry))
	return nil
}

// Seal makes the ledger durable and has the checkpoint refer to its length. It is called between steps, before the
// checkpoint is saved.
func (l *Ledger) Seal(c *train.Checkpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		return errors.New("seal ledger: a step is not finished")
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync ledger: %w", err)
	}
	if c.Extra == nil {
		c.Extra = map[string]json.RawMessage{}
	}
	var err error
	c.Extra[LedgerKey], err = json.Marshal(l.size)
	return err
}

// Close syncs and closes the file.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.file.Sync(), l.file.Close())
}
