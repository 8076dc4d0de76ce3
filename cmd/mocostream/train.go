package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"mocostream/config"
	"mocostream/internal/cliprogress"
	"mocostream/sink"
	"mocostream/train"

	"go.uber.org/zap"
)

type trainCommand struct {
	configFlags
	logFlags
	AcceptChange bool   `help:"Go on although keys marked accept changed since the checkpoint."`
	Cooldown     string `placeholder:"FROM" help:"Finish a copy of a run, in another sink.dir: go on from this checkpoint (run or step folder, or s3://...) with the learning rate falling to 0."`
	Steps        int64  `placeholder:"N" help:"Steps of the cool-down."`
	bucketFlags
	JSON bool `name:"json" help:"Print the outcome as one JSON object on stdout."`
}

// configFlags name a configuration.
type configFlags struct {
	Config string   `short:"c" required:"" placeholder:"FILE" help:"Configuration, YAML."`
	Set    []string `placeholder:"KEY=VALUE" sep:"none" help:"Override a key, e.g. train.batch=64. May be repeated."`
}

// Help is shown below the flags.
func (trainCommand) Help() string {
	return `Example:
  mocostream config init > run.yaml
  mocostream train -c run.yaml --set ingest.dir=photos --set sink.dir=runs/photos
  mocostream train -c online.yaml --cooldown runs/online --steps 20000 --set sink.dir=runs/online-cooled

The run goes on from the newest whole checkpoint in sink.dir. SIGINT or SIGTERM finishes the step, writes a checkpoint
and exits with 0; a second one exits at once.`
}

// outcome is what train --json prints.
type outcome struct {
	Steps           int64   `json:"steps"`
	Samples         int64   `json:"samples"`
	Epoch           float64 `json:"epoch"`
	Loss            float64 `json:"loss"`
	Checkpoint      string  `json:"checkpoint"`
	ImagesPerSecond float64 `json:"images_per_second"`
	DataWait        float64 `json:"data_wait"`
	Stopped         bool    `json:"stopped"`
	BadImages       int64   `json:"bad_images"`
	Report          string  `json:"report,omitempty"`
}

// Run implements the command.
func (t trainCommand) Run(term *terminal) error {
	c, err := config.LoadForTraining(t.Config, t.Set)
	if err != nil {
		return usageError{err}
	}
	o := sessionOptions{config: c, acceptChange: t.AcceptChange}
	if t.Cooldown != "" {
		cool, done, err := t.openCooldown(term, c)
		if err != nil {
			return err
		}
		defer done()
		o.config, o.cooldown = quiet(c), cool
	} else if t.Steps != 0 {
		return usage("--steps is of --cooldown; the length of a run is train.steps: --set train.steps=%d", t.Steps)
	}
	result, err := pretrain(term, o, t.logFlags, nil)
	if err != nil {
		return err
	}
	if t.JSON {
		return printJSON(term.out, result)
	}
	passes := ""
	if result.Epoch > 0 { // a stream has none
		passes = fmt.Sprintf(" (%.2f epochs)", result.Epoch)
	}
	fmt.Fprintf(term.out, "%d steps, %d images%s, loss %.4f\n", result.Steps, result.Samples, passes, result.Loss)
	if result.ImagesPerSecond > 0 { // 0: there was nothing left to do
		fmt.Fprintf(term.out, "%.0f images/s, %.1f %% of the time waiting for data\n", result.ImagesPerSecond, 100*result.DataWait)
	}
	fmt.Fprintf(term.out, "checkpoint %s\n", result.Checkpoint)
	if result.Report != "" {
		fmt.Fprintf(term.out, "report     %s\n", result.Report)
	}
	return nil
}

// pretrain runs to the end and writes the report. finish, if not nil, is called before the report with a run that reached
// its end.
func pretrain(term *terminal, o sessionOptions, lf logFlags, finish func(*session) error) (outcome, error) {
	if err := checkProbes(o.config); err != nil {
		return outcome{}, err
	}
	o.writer = &lateWriter{Writer: term.err}
	o.log, o.also = lf.logger(o.writer), term.also
	return runSessions(term, o, nil, finish)
}

func (s *session) pretrain(term *terminal, finish func(*session) error) (outcome, error) {
	started := time.Now()
	total := totalSteps(s.config, s.in.images())
	bar := cliprogress.New(term.err, isTerminal(term.err), s.log, s.config.Sink.LogEvery, total)
	if isTerminal(term.err) {
		s.writer.bar = bar
	}
	summary, err := s.run(term.ctx, term.stop, bar)
	bar.Finish()
	s.writer.bar = nil
	if err != nil {
		return outcome{}, err
	}
	result, err := s.outcome(summary)
	if err != nil {
		return outcome{}, err
	}
	s.log.Info("trained", zap.Int64("steps", summary.Steps), zap.Bool("stopped", summary.Stopped), zap.Duration("took", time.Since(started)))
	if summary.Stopped {
		return result, nil
	}
	if finish != nil {
		if err := finish(s); err != nil {
			return result, err
		}
	}
	result.Report, err = s.finish(term.ctx, summary)
	return result, err
}

func (s *session) outcome(sum train.Summary) (outcome, error) {
	if s.from != nil && s.from.Step == sum.Steps { // nothing was left to do: the last step is an earlier process's
		history, err := sink.ReadMetrics(filepath.Join(s.config.Sink.Dir, sink.MetricsFile), 2)
		if err != nil {
			return outcome{}, err
		}
		if steps := history.Steps; len(steps) > 0 {
			sum.Loss = steps[len(steps)-1].Loss
		}
	}
	return outcome{
		Steps: sum.Steps, Samples: sum.Samples, Epoch: sum.Epoch, Loss: sum.Loss,
		Checkpoint:      s.place(sum.Checkpoint),
		ImagesPerSecond: sum.ImagesPerSecond, DataWait: sum.DataWait, Stopped: sum.Stopped, BadImages: s.bad,
	}, nil
}

// origin is where the checkpoint is that the session goes on from.
func (s *session) origin() string {
	if s.branches {
		return s.cooldown.path
	}
	return s.place(s.fromName)
}

// place is where the checkpoint of a name is.
func (s *session) place(name string) string {
	if url := s.config.Sink.S3.URL; url != "" {
		return joinKey(url, name)
	}
	return filepath.Join(s.config.Sink.Dir, name)
}

// printJSON writes one object on one line.
func printJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}
