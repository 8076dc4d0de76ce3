package sink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mocostream/train"
)

// DiscardedFile is the name of the record of discarded steps in a run folder.
const DiscardedFile = "discarded-steps.jsonl"

// Discarded records the images of steps that changed nothing, one train.DiscardedSample a line, in discarded-steps.jsonl.
// A run without such steps has no such file.
type Discarded struct{ path string }

// OpenDiscarded opens the record of the run folder dir to go on after step (the checkpoint's; -1 without one): lines of
// later steps are cut, as those of metrics are. The folder must be this process's (see Store).
func OpenDiscarded(dir string, step int64) (*Discarded, error) {
	path := filepath.Join(dir, DiscardedFile)
	if err := cutSteps(path, step); err != nil {
		return nil, fmt.Errorf("cut %s to step %d: %w", path, step, err)
	}
	return &Discarded{path: path}, nil
}

// Write appends samples and makes them durable.
func (d *Discarded) Write(samples []train.DiscardedSample) (err error) {
	var lines []byte
	for _, s := range samples {
		line, err := marshalLine(s)
		if err != nil {
			return fmt.Errorf("write discarded step: %w", err)
		}
		lines = append(lines, line...)
	}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("write discarded step: %w", err)
	}
	_, err = f.Write(lines)
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(d.path))); err != nil {
		return fmt.Errorf("write discarded step: %w", err)
	}
	return nil
}
