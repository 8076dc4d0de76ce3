// Package report shows what a run learned: PNG grids of images, and one HTML page that needs nothing but itself (no
// script, no network, no file beside it).
//
// It draws what it is given and reads no files; whoever assembles a Data decides where the figures come from. What is
// not known is left out of the page.
package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mocostream/train"
)

// Data is the content of a page. Every field but Title may be left zero; its part of the page is then left out.
type Data struct {
	Title   string
	Created time.Time
	// Note stands in a frame above the figures: what a reader must know to judge them (that the images are made up, say).
	Note string

	Summary    Summary
	Evaluation Evaluation
	// Steps may come in any order and any number; a step that occurs twice counts as last given. The page holds a few
	// hundred points of each curve, however many steps there are.
	Steps  []train.StepResult
	Probes []train.ProbeResult
	// BackwardTransfer is what was forgotten of the probes of earlier phases (monitor.Forgetting); nil: not known.
	BackwardTransfer *float64
	// Drift is how far the stream was from its reference.
	Drift []train.DriftResult
	// QueueSize is K, the number of keys in the queue. With it the loss chart shows where the queue was first full.
	QueueSize int64
	// Negatives is how many negatives a query has, and Guess the loss of an encoder that guesses among them.
	Negatives int64
	Guess     float64

	Classes    Picture // what the classes look like
	Preview    Picture // originals and their views
	Neighbours Picture // queries and their nearest images

	Config   []Setting // in the order of the page, grouped by the key up to its first dot
	Versions map[string]string
}

// Summary is the key figures of a run. Zero means not known, except for DeadLetters.
type Summary struct {
	Steps           int64
	Samples         int64   // images consumed
	Epochs          float64 // passes over the data
	Duration        time.Duration
	ImagesPerSecond float64
	Backend         string
	DeadLetters     int64  // images that could not be used
	Bottleneck      string // what limited the speed, in words; "" if not known
}

// Evaluation is a weighted k-NN classification of backbone features, and what it is compared with.
type Evaluation struct {
	Scores  []Score // in the order of the page
	Classes int     // number of classes; with it 1/Classes is shown as chance
	Queries int     // number of classified images
}

// Score is one bar of the comparison.
type Score struct {
	Name     string
	Top1     float64 // share of queries, 0..1
	Baseline bool    // something to compare with (untrained network, raw pixels), not the run's own result
}

// Picture is an image of the page.
type Picture struct {
	PNG     []byte // a whole PNG file
	Caption string // replaces the section's own explanation
}

// Setting is one line of the run's configuration.
type Setting struct{ Key, Value string }

// Settings returns the entries of m, sorted by key.
func Settings(m map[string]string) []Setting {
	out := make([]Setting, 0, len(m))
	for k, v := range m {
		out = append(out, Setting{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b Setting) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// Write renders d to the file path, which appears whole or not at all; an older one is replaced. The folder must exist.
func Write(path string, d Data) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("create report: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // err is the one to tell
			_ = os.Remove(f.Name())
		}
	}()
	if err := Render(f, d); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Render writes the page to w. A picture that is not a PNG is an error.
func Render(w io.Writer, d Data) error {
	p, err := newPage(d)
	if err != nil {
		return err
	}
	t, err := pageTemplate()
	if err != nil {
		return err
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("render report: %w", err)
	}
	return nil
}
