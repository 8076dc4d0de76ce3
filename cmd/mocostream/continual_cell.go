package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mocostream/config"
	"mocostream/internal/standin"
	"mocostream/internal/synth"
	"mocostream/sink"
	"mocostream/train"
	"mocostream/train/eval"
)

const (
	labTopic     = "frames"
	labProbe     = "all"
	labFirst     = "first" // the first task's classes
	labResult    = "result.json"
	labSettings  = "settings.json"
	labLog       = "log.txt"
	labSendBurst = 256  // frames sent at a time
	labLimit     = 2000 // images of each set that the curves are measured on, by
	labFewer     = 60   // neighbours, where
	labK         = 200  // vote on all of them
)

// cellResult is what a cell came to.
type cellResult struct {
	Stream  string       `json:"stream"`
	Policy  string       `json:"policy"`
	Seed    int          `json:"seed"`
	Top1    float64      `json:"top1"`            // of all queries
	Curve   []curvePoint `json:"curve"`           // of some
	First   []curvePoint `json:"first,omitempty"` // of the first task's classes
	Loss    float64      `json:"loss"`            // of the last step
	Seconds float64      `json:"seconds"`
}

type curvePoint struct {
	Step int64   `json:"step"`
	Top1 float64 `json:"top1"`
}

// cell returns the result of a cell, and whether it was run for it.
func (l laboratory) cell(term *terminal, backend *train.Backend, c labCell) (r cellResult, fresh bool, err error) {
	dir := l.cellDir(c)
	if err := l.claim(dir, c); err != nil {
		return r, false, err
	}
	if err := readJSON(filepath.Join(dir, labResult), &r); !errors.Is(err, fs.ErrNotExist) {
		return r, false, err
	}
	started := time.Now()
	if err := term.interruptible(func(ctx context.Context) error { return l.draw(ctx, c.seed) }); err != nil {
		return r, false, err
	}
	if err := l.train(term, dir, c); err != nil {
		return r, false, err
	}
	err = term.interruptible(func(ctx context.Context) error {
		r, err = l.judge(ctx, backend, dir, c)
		return err
	})
	if err != nil {
		return r, false, err
	}
	r.Seconds = time.Since(started).Seconds()
	return r, true, writeJSON(filepath.Join(dir, labResult), r)
}

// claim makes a cell's folder, and empties one that was made with other settings.
func (l laboratory) claim(dir string, c labCell) error {
	want := append([]string{l.stream(c).String(), l.glyphs(c.seed, false).String(), l.glyphs(c.seed, true).String()}, l.settings(c)...)
	var have []string
	err := readJSON(filepath.Join(dir, labSettings), &have)
	if err == nil && slices.Equal(have, want) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(dir)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, labSettings), want)
}

func (l laboratory) stream(c labCell) synth.Stream {
	s := c.stream
	s.Frames, s.Size, s.Seed, s.Shuffle = l.steps(c)*l.batch+spareFrames, l.size, uint64(c.seed), c.shuffle
	return s
}

func (l laboratory) steps(c labCell) int { return l.Steps * max(c.times, 1) }

// settings are those of the cell that decide its result.
func (l laboratory) settings(c labCell) []string {
	every := l.steps(c) / l.curve
	set := slices.Concat(l.set, c.set, []string{
		fmt.Sprint("train.batch=", l.batch), fmt.Sprint("train.steps=", l.steps(c)), fmt.Sprint("train.seed=", c.seed),
		fmt.Sprint("eval.every=", every), fmt.Sprint("eval.k=", labFewer), fmt.Sprint("sink.checkpoint_every=", every),
		"ingest.kafka.merge=deterministic", "loader.replay.policy=" + c.replay,
	})
	if c.replay != config.ReplayNone {
		set = append(set, fmt.Sprint("loader.replay.size=", c.buffer))
	}
	return append(set, l.Set...)
}

// config is the whole configuration of a cell that reads from a broker.
func (l laboratory) config(c labCell, broker string) (*config.Config, error) {
	probe := func(name, query string) string {
		return fmt.Sprintf("{name: %s, reference: %q, query: %q, limit: %d}", name, l.imagesOf(c.seed, "reference"), query, labLimit)
	}
	probes := probe(labProbe, l.imagesOf(c.seed, "query"))
	if c.remembers() {
		probes += ", " + probe(labFirst, l.imagesOf(c.seed, "first"))
	}
	made, err := config.LoadForTraining("", append(l.settings(c),
		"ingest.kafka.brokers=["+broker+"]", "ingest.kafka.topics=["+labTopic+"]", "train.backend="+l.Backend,
		"sink.dir="+filepath.Join(l.cellDir(c), "run"), "sink.keep=1", "eval.probes=["+probes+"]",
	))
	if err != nil {
		return nil, fmt.Errorf("configuration: %v", err) // %v: not the user's
	}
	return made, nil
}

// remembers tells whether a cell is about forgetting its first task.
func (c labCell) remembers() bool { return c.stream.Kind == synth.Tasks && c.extra }

// train brings the stream into a stand-in broker and trains on it in a process of its own.
func (l laboratory) train(term *terminal, dir string, c labCell) error {
	broker, err := standin.StartBroker(l.streamDir(c), labTopic, 1)
	if err != nil {
		return err
	}
	defer broker.Close()
	if err := term.interruptible(func(ctx context.Context) error { return l.fill(ctx, broker, c) }); err != nil {
		return err
	}
	made, err := l.config(c, broker.Address())
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "run.yaml")
	if err := os.WriteFile(file, []byte(config.Print(made)), 0o644); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, labLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	fmt.Fprintf(term.err, "training: %s\n", c)
	shown := &lines{want: []byte("probe " + labProbe), to: term.err}
	err = trainer{logFlags: logFlags{LogFormat: "text"}, file: file, log: io.MultiWriter(log, shown)}.run(term.ctx, term)
	if err != nil {
		err = fmt.Errorf("%w; see %s", err, log.Name())
	}
	if err := errors.Join(err, log.Close()); err != nil {
		return err
	}
	if isClosed(term.stop) {
		return errInterrupted
	}
	return nil
}

// fill brings what the broker lacks of the stream.
func (l laboratory) fill(ctx context.Context, broker *standin.Broker, c labCell) error {
	ends, err := broker.Ends(ctx)
	if err != nil {
		return err
	}
	s := l.stream(c)
	var batch []standin.Message
	send := func() error {
		err := broker.Produce(ctx, 0, batch)
		batch = batch[:0]
		return err
	}
	err = synth.EachFrame(ctx, s, synth.Glyphs{Options: l.glyphs(c.seed, false)}, int(ends[0]), s.Frames, func(f synth.Frame) error {
		batch = append(batch, standin.Message{Key: []byte(f.Key), Value: f.JPEG, Headers: map[string]string{"content-type": "image/jpeg"}})
		if len(batch) < labSendBurst {
			return nil
		}
		return send()
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	return send()
}

// judge asks all queries of the run's last checkpoint, and reads the curves.
func (l laboratory) judge(ctx context.Context, backend *train.Backend, dir string, c labCell) (cellResult, error) {
	r := cellResult{Stream: c.labStream.name, Policy: c.labPolicy.name, Seed: c.seed}
	run := filepath.Join(dir, "run")
	folder, err := sink.Resolve(run, nil)
	if err != nil {
		return r, err
	}
	job := &encoderJob{backend: backend, which: "q", folder: folder}
	if job.checkpoint, err = sink.Read(folder); err != nil {
		return r, err
	}
	if job.config, err = configOf(job.checkpoint); err != nil {
		return r, err
	}
	found, err := judge(ctx, job, evalKNNCommand{
		Reference: l.imagesOf(c.seed, "reference"), Query: l.imagesOf(c.seed, "query"), Features: "backbone",
		K: labK, Temperature: job.config.Eval.Temperature, BN: string(eval.Estimated),
	})
	if err != nil {
		return r, err
	}
	r.Top1 = found.Backbone.Top1
	history, err := sink.ReadMetrics(filepath.Join(run, sink.MetricsFile), l.steps(c))
	if err != nil {
		return r, err
	}
	if n := len(history.Steps); n > 0 {
		r.Loss = history.Steps[n-1].Loss
	}
	for _, p := range history.Probes {
		point := curvePoint{p.Step, p.Top1}
		if p.Probe == labFirst {
			r.First = append(r.First, point)
		} else {
			r.Curve = append(r.Curve, point)
		}
	}
	return r, nil
}

// lines passes on the lines that hold a text.
type lines struct {
	want []byte
	to   io.Writer
	rest []byte
}

func (l *lines) Write(data []byte) (int, error) {
	l.rest = append(l.rest, data...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(data), nil
		}
		if bytes.Contains(line, l.want) {
			fmt.Fprintf(l.to, "  %s\n", line)
		}
		l.rest = append([]byte(nil), rest...)
	}
}

func readJSON(path string, to any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("read %s: %w; remove the folder it is in", path, err)
	}
	return nil
}

func writeJSON(path string, from any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
