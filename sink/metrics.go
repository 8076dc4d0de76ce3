package sink

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mocostream/train"
)

// MetricsFile is the name of the metrics in a run folder.
const MetricsFile = "metrics.jsonl"

// Metrics appends to metrics.jsonl: one JSON object a line, a train.StepResult, a train.ProbeResult where "probe" is set, or
// a train.DriftResult where "drift" is. Its methods may be called concurrently.
type Metrics struct {
	every time.Duration

	mu    sync.Mutex
	file  *os.File
	buf   *bufio.Writer
	timer *time.Timer // runs while something is buffered; nil otherwise
	err   error       // of a flush by the timer; the next call returns it
}

// OpenMetrics opens the metrics of the run folder dir to go on after step (the checkpoint's; -1 without one): lines of
// later steps are of a history that did not survive, and are cut. Lines are buffered for at most every before they reach
// the file (0: not at all). The folder must be this process's (see Store).
func OpenMetrics(dir string, step int64, every time.Duration) (*Metrics, error) {
	path := filepath.Join(dir, MetricsFile)
	if err := cutSteps(path, step); err != nil {
		return nil, fmt.Errorf("cut %s to step %d: %w", path, step, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	return &Metrics{every: every, file: f, buf: bufio.NewWriter(f)}, nil
}

// Step appends the result of a finished step.
func (m *Metrics) Step(r train.StepResult) error { return m.append(r) }

// Probe appends the result of an evaluation.
func (m *Metrics) Probe(r train.ProbeResult) error { return m.append(r) }

// Drift appends the result of a comparison.
func (m *Metrics) Drift(r train.DriftResult) error { return m.append(r) }

func (m *Metrics) append(v any) error {
	line, err := marshalLine(v)
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if _, err := m.buf.Write(line); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	if m.every <= 0 {
		return m.flush()
	}
	if m.timer == nil {
		m.timer = time.AfterFunc(m.every, m.tick)
	}
	return nil
}

func (m *Metrics) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil { // else a flush came first
		m.err = errors.Join(m.err, m.flush())
	}
}

// flush empties the buffer and stops the timer; m.mu is held.
func (m *Metrics) flush() error {
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	if err := m.buf.Flush(); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// Flush makes all lines durable. Called before a checkpoint is saved, it keeps the history up to it from a crash.
func (m *Metrics) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.err, m.flush()); err != nil {
		return err
	}
	if err := m.file.Sync(); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// Close flushes and closes the file.
func (m *Metrics) Close() error {
	return errors.Join(m.Flush(), m.file.Close())
}

// cutSteps rewrites path without the lines that belong to steps after last, and without damaged ones. It writes beside
// and renames, and leaves a file alone that needs no change.
func cutSteps(path string, last int64) error {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := path + tmpSuffix
	out, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp) }() // not there once renamed
	kept, err := copyLines(out, in, last)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if st, err := in.Stat(); err != nil || st.Size() == kept {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// copyLines copies the lines of steps up to last, synced, and returns their bytes.
func copyLines(out, in *os.File, last int64) (kept int64, err error) {
	w := bufio.NewWriter(out)
	for line, err := range jsonLines(in) {
		if err != nil {
			return 0, err
		}
		var at struct {
			Step *int64 `json:"step"`
		}
		if json.Unmarshal(line, &at) != nil || at.Step == nil || *at.Step > last {
			continue
		}
		if _, err := w.Write(line); err != nil {
			return 0, err
		}
		kept += int64(len(line))
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return kept, out.Sync()
}
