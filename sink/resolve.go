package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Resolve returns the step folder that path means: path itself, or the newest whole one of a run folder. It changes
// nothing and needs no lock. Each torn checkpoint that it passes over is reported through warn, which may be nil. The
// error wraps fs.ErrNotExist if there is no checkpoint, and does not if there are only torn ones.
func Resolve(path string, warn func(string)) (stepDir string, err error) {
	if _, ok := parseStep(filepath.Base(filepath.Clean(path))); ok {
		return path, nil
	}
	if _, err := os.Stat(filepath.Join(path, stateFile)); err == nil {
		return path, nil // a step folder under another name
	}
	w := walk{dir: path, warn: warn}
	return w.newest(func(stepDir string, step int64) error {
		s, err := verify(stepDir)
		if err == nil {
			err = sameStep(s.Step, step)
		}
		return err
	})
}

// walk looks for the newest whole checkpoint of a run folder.
type walk struct {
	dir  string
	warn func(string)
	bad  []int64 // those passed over, newest first
}

// newest returns the first step folder, from the newest, that load takes. A load that fails with ErrTorn is reported
// and passed over; any other error ends the walk: going on from an older checkpoint would silently undo good steps.
func (w *walk) newest(load func(stepDir string, step int64) error) (string, error) {
	steps, err := listSteps(w.dir)
	if err != nil {
		return "", fmt.Errorf("look for checkpoints: %w", err)
	}
	var first error
	for _, step := range steps {
		dir := filepath.Join(w.dir, stepName(step))
		err := load(dir, step)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, ErrTorn) {
			return "", err
		}
		first = errors.Join(first, err)
		w.passOver(step, err)
	}
	if len(steps) == 0 {
		return "", fmt.Errorf("look for checkpoints: %s holds no step folder: %w", w.dir, fs.ErrNotExist)
	}
	// Not %w: a missing file inside a checkpoint is fs.ErrNotExist too, which callers take for a new run.
	return "", fmt.Errorf("%w: all %d checkpoints in %s: %v; bring one back from a copy, or move these folders away to start over",
		ErrTorn, len(steps), w.dir, first)
}

func (w *walk) passOver(step int64, err error) {
	w.bad = append(w.bad, step)
	if w.warn != nil {
		w.warn(fmt.Sprintf("checkpoint %s is passed over: %v", stepName(step), err))
	}
}

// sameStep refuses a checkpoint in a folder that was named for another one.
func sameStep(got, want int64) error {
	if got != want {
		return fmt.Errorf("%s: %w: %s says step %d", stepName(want), ErrTorn, stateFile, got)
	}
	return nil
}
