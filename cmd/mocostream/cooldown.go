package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"mocostream/config"
	"mocostream/sink"
	"mocostream/train"

	"go.uber.org/zap"
)

// cooldownKey is where a checkpoint's Extra says that it is of a cool-down, and of which.
const cooldownKey = "cooldown"

// cooldown finishes a copy of a run: it goes on from one of its checkpoints, and the learning rate falls from what it is
// there to 0. The run itself is only read.
type cooldown struct {
	path string // of the checkpoint, as the user names it
	from *train.Checkpoint
	name string // of from: step-%09d
	// bring copies a list of files that the run keeps to a folder; that it has none is no error.
	bring func(ctx context.Context, hash, dir string) error
	cooled
}

// cooled tells cool-downs apart.
type cooled struct {
	From  int64 `json:"from"`  // step
	Steps int64 `json:"steps"` // from there to the end
}

// openCooldown reads the checkpoint that a cool-down goes on from. done is called when the run has ended.
func (t trainCommand) openCooldown(term *terminal, c *config.Config) (cool *cooldown, done func(), err error) {
	if t.Steps < 1 {
		return nil, nil, usage("--cooldown needs --steps: over how many steps the learning rate falls to 0, for example a fifth of those done")
	}
	if url := c.Sink.S3.URL; url != "" && runURL(t.Cooldown) == runURL(url) {
		return nil, nil, usage("sink.s3.url: %s is the run that is cooled down; name another place for the copy", url)
	}
	folder, done, err := t.resolve(term, t.Cooldown)
	if err != nil {
		return nil, nil, err
	}
	cool, err = t.readCooldown(term, c, folder)
	if err != nil {
		done()
	}
	return cool, done, err
}

func (t trainCommand) readCooldown(term *terminal, c *config.Config, folder string) (*cooldown, error) {
	if err := elsewhere(c, folder); err != nil {
		return nil, err
	}
	ck, err := sink.Read(folder)
	if err != nil {
		return nil, err
	}
	cool := &cooldown{
		path: t.Cooldown, from: ck, name: fmt.Sprintf("step-%09d", ck.Step), cooled: cooled{From: ck.Step, Steps: t.Steps},
		bring: listsIn(manifestDir(filepath.Dir(folder))),
	}
	if !strings.HasPrefix(t.Cooldown, bucketScheme) {
		return cool, nil
	}
	client, err := t.client(term)
	if err != nil {
		return nil, err
	}
	bucket, prefix, _ := config.Bucket(runURL(t.Cooldown))
	cool.bring = func(ctx context.Context, hash, dir string) error {
		return (&manifestCopies{client: client, bucket: bucket, prefix: prefix, dir: dir}).bring(ctx, hash)
	}
	return cool, nil
}

// elsewhere refuses a cool-down that would write into the folder of the run that it is a copy of.
func elsewhere(c *config.Config, folder string) error {
	ours, err := os.Stat(c.Sink.Dir)
	if err != nil {
		return nil // a new folder is another one
	}
	for _, dir := range []string{folder, filepath.Dir(folder)} {
		if theirs, err := os.Stat(dir); err == nil && os.SameFile(ours, theirs) {
			return usage("sink.dir: %s is the run that is cooled down; name another folder for the copy", c.Sink.Dir)
		}
	}
	return nil
}

// runURL is the place of the run whose checkpoint, or itself, a URL names.
func runURL(url string) string {
	url = strings.TrimRight(url, "/")
	if base := path.Base(url); strings.HasPrefix(base, "step-") {
		url = strings.TrimRight(strings.TrimSuffix(url, base), "/")
	}
	return url
}

// listsIn brings lists of files from a folder of them.
func listsIn(from string) func(ctx context.Context, hash, dir string) error {
	return func(_ context.Context, hash, dir string) error {
		in, err := os.Open(filepath.Join(from, manifestName(hash)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bring the list of files: %w", err)
		}
		defer in.Close()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("bring the list of files: %w", err)
		}
		out, err := os.Create(filepath.Join(dir, manifestName(hash)))
		if err != nil {
			return fmt.Errorf("bring the list of files: %w", err)
		}
		_, err = io.Copy(out, in)
		if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
			return fmt.Errorf("bring the list of files: %w", err)
		}
		return nil
	}
}

// quiet is the configuration of a copy: nothing of it goes where others take it for the run's.
func quiet(c *config.Config) *config.Config {
	q := *c
	q.Ingest.Kafka.Group, q.Sink.DeadTopic, q.Sink.Embeddings.To = "", "", "none"
	q.Monitor.Drift.Every = 0
	return &q
}

// start is the checkpoint without what belongs to the run's own folder and topics.
func (d *cooldown) start() *train.Checkpoint {
	from := *d.from
	from.Extra = maps.Clone(from.Extra)
	for _, key := range []string{deadLettersKey, sink.LedgerKey, publishedKey, unsentKey, embeddingsKey, monitorKey} {
		delete(from.Extra, key)
	}
	return &from
}

// schedule is the configuration with the end of the run: at the checkpoint's rate, falling at once.
func (d *cooldown) schedule(c *config.Config, rate float64) *config.Config {
	r := *c
	r.Train.Steps, r.Train.Epochs, r.Train.Optimizer.LR = int(d.From+d.Steps), 0, rate
	r.Train.Schedule.Name, r.Train.Schedule.WarmupSteps, r.Train.Schedule.DecaySteps = "wsd", 0, int(d.Steps)
	return &r
}

// goOnCooling checks that the newest checkpoint in the copy's place is of this cool-down, and takes its schedule.
func (s *session) goOnCooling() error {
	var was cooled
	raw, ok := s.from.Extra[cooldownKey]
	if !ok || json.Unmarshal(raw, &was) != nil || was.Steps != s.cooldown.Steps {
		return usage("%s is not of a cool-down over %d steps; choose another sink.dir for the copy", s.place(s.fromName), s.cooldown.Steps)
	}
	before, err := configOf(s.from)
	if err != nil {
		return err
	}
	s.cooldown.cooled = was // the run may have newer checkpoints by now
	s.asked = s.cooldown.schedule(s.asked, before.Train.Optimizer.LR)
	return nil
}

// cool sets the schedule of a cool-down that begins.
func (s *session) cool() error {
	images := s.in.images()
	rate := trainOptions(resolved(s.asked, images), images).Schedule.Rate(s.from.Step)
	if rate <= 0 {
		return usage("the learning rate at %s is 0 already; a cool-down goes on from a checkpoint before the end of its run's schedule", s.cooldown.path)
	}
	s.asked = s.cooldown.schedule(s.asked, rate)
	s.log.Info("cool-down", zap.String("from", s.cooldown.path), zap.Int64("step", s.from.Step), zap.Int64("steps", s.cooldown.Steps), zap.Float64("lr", rate))
	return nil
}
