package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mocostream/loader"
	"mocostream/sink"
	"mocostream/sink/report"
	"mocostream/train"
	"mocostream/train/eval"
)

// Files of a run folder that the report is made from, beside checkpoints and metrics.
const (
	reportFile     = "report.html"
	summaryFile    = "summary.json"
	previewFile    = "preview.png"
	neighboursFile = "neighbours.png"
	classesFile    = "classes.png"
)

// reportPoints bounds the points of a curve that are read.
const reportPoints = 4000

type reportCommand struct {
	Dir string `arg:"" type:"existingdir" help:"Run folder (sink.dir)."`
	Out string `placeholder:"FILE.html" help:"Where to write; default: report.html in the run folder."`

	Checkpoint string `placeholder:"s3://BUCKET/PREFIX" help:"Checkpoints of the run, where they are not in its folder (sink.s3.url)."`
	bucketFlags
}

// Help is shown below the flags.
func (reportCommand) Help() string {
	return `One self-contained HTML file: curves, k-NN over time, pictures, configuration and versions. A run writes it at its end;
this command writes it at any time, also beside a run that is going on.

Example:
  mocostream report runs/photos`
}

// Run implements the command.
func (r reportCommand) Run(term *terminal) error {
	path := r.Checkpoint
	if path == "" {
		path = r.Dir
	}
	folder, done, err := r.resolve(term, path)
	if err != nil {
		return err
	}
	defer done()
	ck, err := sink.Read(folder)
	if err != nil {
		return err
	}
	out, err := writeReport(r.Dir, r.Out, ck)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(term.out, out)
	return err
}

// summary is what a run leaves for its report beside metrics and checkpoints.
type summary struct {
	Title           string         `json:"title"`
	Note            string         `json:"note,omitempty"`
	Backend         string         `json:"backend"`
	Seconds         float64        `json:"seconds"` // of training, all processes together
	ImagesPerSecond float64        `json:"images_per_second"`
	Bottleneck      string         `json:"bottleneck,omitempty"` // of the process that came to the end, in words
	Queue           int            `json:"queue,omitempty"`      // its length
	Negatives       int            `json:"negatives,omitempty"`  // of a query
	Guess           float64        `json:"guess,omitempty"`      // the loss of guessing
	Scores          []report.Score `json:"scores,omitempty"`
	Classes         int            `json:"classes,omitempty"`
	Queries         int            `json:"queries,omitempty"`

	BackwardTransfer *float64 `json:"backward_transfer,omitempty"`
}

func readSummary(dir string) (s summary, err error) {
	text, err := os.ReadFile(filepath.Join(dir, summaryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read summary: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", filepath.Join(dir, summaryFile), err)
	}
	return s, nil
}

func writeSummary(dir string, s summary) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, summaryFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}

// writeReport renders a run folder as of a checkpoint; out "" is its report.html.
func writeReport(dir, out string, ck *train.Checkpoint) (string, error) {
	s, err := readSummary(dir)
	if err != nil {
		return "", err
	}
	history, err := sink.ReadMetrics(filepath.Join(dir, sink.MetricsFile), reportPoints)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	dead, err := countLines(filepath.Join(dir, sink.DeadLettersFile))
	if err != nil {
		return "", err
	}
	if out == "" {
		out = filepath.Join(dir, reportFile)
	}
	data := reportData(ck, s, history)
	data.Summary.DeadLetters = dead
	for file, to := range map[string]*report.Picture{
		previewFile: &data.Preview, neighboursFile: &data.Neighbours, classesFile: &data.Classes,
	} {
		to.PNG, err = os.ReadFile(filepath.Join(dir, file))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read picture: %w", err)
		}
	}
	return out, report.Write(out, data)
}

func reportData(ck *train.Checkpoint, s summary, h sink.History) report.Data {
	title := s.Title
	if title == "" {
		title = "Pre-training of " + ck.Encoder.Arch
	}
	d := report.Data{
		Title: title, Created: time.Now(), Note: s.Note,
		Summary: report.Summary{
			Steps: ck.Step, Samples: ck.Samples, Backend: s.Backend, ImagesPerSecond: s.ImagesPerSecond,
			Duration: time.Duration(s.Seconds * float64(time.Second)), Bottleneck: s.Bottleneck,
		},
		Evaluation: report.Evaluation{Scores: s.Scores, Classes: s.Classes, Queries: s.Queries},
		Steps:      h.Steps, Probes: h.Probes, Drift: h.Drift, QueueSize: int64(s.Queue), Negatives: int64(s.Negatives), Guess: s.Guess,
		Config: report.Settings(ck.Config), Versions: ck.Versions, BackwardTransfer: s.BackwardTransfer,
	}
	if len(h.Steps) > 0 {
		d.Summary.Epochs = h.Steps[len(h.Steps)-1].Epoch
	}
	return d
}

// countLines counts the lines of a file that may be missing and may be large.
func countLines(path string) (n int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 && line[len(line)-1] == '\n' {
			n++
		}
		if errors.Is(err, bufio.ErrBufferFull) || err == nil {
			continue
		}
		return n, nil // the end, or as far as it can be read
	}
}

// finish evaluates a run that reached its end, draws its pictures and writes its report.
func (s *session) finish(ctx context.Context, sum train.Summary) (string, error) {
	dir := s.config.Sink.Dir
	if every := int64(s.config.Eval.Every); every == 0 || sum.Steps%every != 0 {
		if err := s.probe(ctx, sum.Steps); err != nil {
			return "", fmt.Errorf("probe at the end: %w", err)
		}
	}
	if err := s.draw(ctx); err != nil {
		return "", err
	}
	if err := s.metrics.Flush(); err != nil {
		return "", err
	}
	kept, err := readSummary(dir)
	if err != nil {
		return "", err
	}
	o := s.trainer.Options()
	kept.Backend, kept.Queue, kept.Negatives, kept.Guess = s.backend.Name(), o.Queue(), o.Negatives(), o.GuessLoss()
	if transfer, known := s.monitors.forgetting.BackwardTransfer(); known {
		kept.BackwardTransfer = &transfer
	}
	kept.Bottleneck = s.governor.Overall().Judge(s.governor.Means).Words
	if sum.ImagesPerSecond > 0 {
		kept.ImagesPerSecond = sum.ImagesPerSecond
		kept.Seconds += float64(sum.Samples-s.startSamples()) / sum.ImagesPerSecond
	}
	if err := writeSummary(dir, kept); err != nil {
		return "", err
	}
	ck, _, err := s.store.Newest(ctx)
	if err != nil {
		return "", err
	}
	return writeReport(dir, "", ck)
}

func (s *session) startSamples() int64 {
	if s.from == nil {
		return 0
	}
	return s.from.Samples
}

// draw writes the preview and the neighbours of the training images.
func (s *session) draw(ctx context.Context) error {
	if s.in.bounded != nil {
		if err := s.drawPreview(ctx); err != nil {
			return err
		}
	}
	if s.neighbours != nil {
		return s.drawNeighbours(ctx, *s.neighbours)
	}
	if s.in.bounded == nil {
		return nil // what a stream brought is gone
	}
	return s.drawNeighbours(ctx, eval.Source{Bounded: s.in.bounded})
}

// drawPreview draws the first images with their views.
func (s *session) drawPreview(ctx context.Context) error {
	const images = 12
	rows, err := previewRows(s.config, images, func(use func(*loader.Sample) error) error {
		return firstSamples(ctx, s.in.bounded, s.config, images, use)
	})
	if err != nil {
		return err
	}
	return s.picture(previewFile, func() ([]byte, error) { return report.PNG(report.PreviewGrid(rows)) })
}

// labelNeighbours draws the report's neighbours from a labelled folder in place of the training images.
func (s *session) labelNeighbours(ctx context.Context, root string) error {
	src, closeSource, err := openLabelled(ctx, root, manifestDir(s.config.Sink.Dir), limitsOf(s.config))
	if err != nil {
		return err
	}
	s.onClose(closeSource)
	s.neighbours = &src
	return nil
}

// drawNeighbours embeds images of a source with the encoder as of now.
func (s *session) drawNeighbours(ctx context.Context, src eval.Source) error {
	job, err := s.encoder()
	if err != nil {
		return err
	}
	e, err := job.embedder()
	if err != nil {
		return err
	}
	defer e.Close()
	rows, err := neighbourRows(ctx, e, src, job.evalOptions())
	if err != nil {
		return err
	}
	return s.picture(neighboursFile, func() ([]byte, error) { return report.PNG(report.NeighbourGrid(rows)) })
}

func (s *session) picture(name string, draw func() ([]byte, error)) error {
	png, err := draw()
	if err != nil || png == nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.config.Sink.Dir, name), png, 0o644); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}
