package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"mocostream/augment/jpeg"
	"mocostream/config"
	"mocostream/ingest"
	"mocostream/internal/cliprogress"
	"mocostream/internal/safetensors"
	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"
	"mocostream/train/eval"

	"go.uber.org/zap"
)

// deadLettersKey is where a checkpoint keeps the length of the dead-letter file.
const deadLettersKey = "dead_letters"

// session is one pre-training run in its run folder: everything that train wires together.
type session struct {
	asked  *config.Config // as the user wrote it
	config *config.Config // with what auto stands for, once the source is known
	log    *zap.Logger
	writer *lateWriter // where log lines go

	store    *sink.Store
	metrics  *sink.Metrics
	dead     *sink.DeadLetters
	source   source
	manifest *ingest.Manifest
	backend  *train.Backend
	trainer  *train.Trainer

	from     *train.Checkpoint // nil at the start
	fromName string
	bad      int64 // dead letters of this process

	neighbours *eval.Source // labelled images for the report's neighbours; nil: the training images

	closers []func() error
}

// openSession opens the run folder, finds the newest checkpoint and brings source and trainer to where it was taken.
func openSession(ctx context.Context, c *config.Config, log *zap.Logger, writer *lateWriter, acceptChange bool) (s *session, err error) {
	s = &session{asked: c, config: c, log: log, writer: writer}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	if err = s.openStore(ctx, acceptChange); err != nil {
		return s, err
	}
	if err = s.openSource(ctx); err != nil {
		return s, err
	}
	if err = s.openTrainer(); err != nil {
		return s, err
	}
	return s, s.openRecords()
}

// close closes everything in reverse.
func (s *session) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *session) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *session) openStore(ctx context.Context, acceptChange bool) (err error) {
	k := s.config.Sink
	s.store, err = sink.OpenStore(k.Dir, sink.Options{
		Keep: k.Keep, KeepEvery: int64(k.KeepEvery),
		Warn: func(text string) { s.log.Warn(text) },
	})
	if err != nil {
		return err
	}
	s.onClose(s.store.Close)
	s.from, s.fromName, err = s.store.Newest(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.log.Info("going on from checkpoint", zap.String("checkpoint", s.fromName), zap.Int64("step", s.from.Step))
	s.warnOtherVersions()
	return s.checkChanges(acceptChange)
}

// warnOtherVersions says when another program made the checkpoint: bits may differ from here on.
func (s *session) warnOtherVersions() {
	for name, now := range versions(nil) {
		if was := s.from.Versions[name]; was != "" && was != now {
			s.log.Warn("the checkpoint was made by another "+name+"; results may differ in the last bits",
				zap.String("was", was), zap.String("now", now))
		}
	}
}

// checkChanges compares the configuration with the checkpoint's.
func (s *session) checkChanges(accept bool) error {
	var refused, asked []string
	for _, change := range config.Compare(s.from.Config, s.asked) {
		text := fmt.Sprintf("%s: %s, was %s", change.Key, change.New, change.Old)
		switch {
		case change.Class == config.Refused:
			refused = append(refused, text)
		case change.Class == config.Accept && accept:
			s.log.Warn("changed since the checkpoint", zap.String("key", change.Key), zap.String("was", change.Old), zap.String("now", change.New))
		case change.Class == config.Accept:
			asked = append(asked, text)
		}
	}
	if len(refused) > 0 {
		return usage("%s holds another run:\n  %s\nset these back, or choose another sink.dir",
			filepath.Join(s.config.Sink.Dir, s.fromName), strings.Join(refused, "\n  "))
	}
	if len(asked) > 0 {
		return usage("the configuration changed since %s:\n  %s\nset these back, or say --accept-change",
			filepath.Join(s.config.Sink.Dir, s.fromName), strings.Join(asked, "\n  "))
	}
	return nil
}

func (s *session) openSource(ctx context.Context) (err error) {
	hash := ""
	if s.from != nil && s.from.Token.Progress.Bounded != nil {
		hash = s.from.Token.Progress.Bounded.Source
	}
	if s.source, err = openSource(s.config, manifestDir(s.config.Sink.Dir), hash); err != nil {
		return err
	}
	s.onClose(s.source.Close)
	if s.manifest, err = s.source.Manifest(ctx); err != nil {
		return err
	}
	s.log.Info("source", zap.Int64("images", s.manifest.Samples()), zap.Int32("files", s.manifest.Len()), zap.String("manifest", s.manifest.Hash()[:12]))
	s.config = resolved(s.asked, s.manifest.Samples())
	if images := s.manifest.Samples(); images < int64(s.config.Train.Batch) {
		return usage("the source holds %d images, fewer than a batch (train.batch is %d); lower train.batch or add images", images, s.config.Train.Batch)
	}
	return nil
}

func (s *session) openTrainer() (err error) {
	if s.backend, err = train.OpenBackend(s.config.Train.Backend); err != nil {
		return err
	}
	s.onClose(func() error { s.backend.Finalize(); return nil })
	s.log.Info("backend", zap.String("backend", s.backend.Config), zap.String("why", s.backend.Why))
	if s.backend.Advice != "" {
		s.log.Info("a faster backend could be used", zap.String("advice", s.backend.Advice))
	}
	o := trainOptions(s.config, s.manifest.Samples())
	if int64(o.K) >= s.manifest.Samples() {
		s.log.Warn("the queue is as long as the whole set: most negatives are views of images seen moments ago; lower train.k",
			zap.Int("k", o.K), zap.Int64("images", s.manifest.Samples()))
	}
	if s.trainer, err = train.New(s.backend, o); err != nil {
		return usageError{err}
	}
	s.onClose(func() error { s.trainer.Close(); return nil })
	if s.from != nil {
		return s.trainer.Restore(s.from)
	}
	if path := s.config.Train.InitFrom; path != "" {
		return s.initFrom(path)
	}
	return nil
}

// initFrom starts from the weights of a file, an export's folder, a step folder or a run folder.
func (s *session) initFrom(path string) error {
	file, err := s.weightsFile(path)
	if err != nil {
		return fmt.Errorf("train.init_from: %w", err)
	}
	weights, _, err := safetensors.ReadFile(file)
	if err != nil {
		return fmt.Errorf("train.init_from: %w", err)
	}
	report, err := s.trainer.InitFrom(weights)
	if err != nil {
		return fmt.Errorf("train.init_from %s: %w", file, err)
	}
	s.log.Info("started from weights", zap.String("file", file), zap.Int("loaded", report.Loaded),
		zap.Strings("missing", report.Missing), zap.Strings("unused", report.Unused))
	return nil
}

func (s *session) weightsFile(path string) (string, error) {
	const name = "model.safetensors"
	if filepath.Ext(path) == ".safetensors" {
		return path, nil
	}
	if _, err := os.Stat(filepath.Join(path, name)); err == nil {
		return filepath.Join(path, name), nil
	}
	folder, err := sink.Resolve(path, func(text string) { s.log.Warn(text) })
	return filepath.Join(folder, name), err
}

// openRecords opens metrics and dead letters and cuts off what the checkpoint does not know of.
func (s *session) openRecords() (err error) {
	step, length := int64(-1), int64(0)
	if s.from != nil {
		step = s.from.Step
		if raw, ok := s.from.Extra[deadLettersKey]; ok {
			if err := json.Unmarshal(raw, &length); err != nil {
				return fmt.Errorf("%s of the checkpoint: %w", deadLettersKey, err)
			}
		}
	}
	if s.metrics, err = sink.OpenMetrics(s.config.Sink.Dir, step, s.config.Sink.LogEvery); err != nil {
		return err
	}
	s.onClose(s.metrics.Close)
	if s.dead, err = sink.OpenDeadLetters(s.config.Sink.Dir); err != nil {
		return err
	}
	s.onClose(s.dead.Close)
	err = s.dead.Truncate(length)
	if errors.Is(err, sink.ErrChanged) {
		s.log.Warn("the dead-letter file is shorter than the checkpoint knows", zap.Error(err))
		return nil
	}
	return err
}

// run trains until the end, stop, or an error.
func (s *session) run(ctx context.Context, stop <-chan struct{}, bar *cliprogress.Progress) (train.Summary, error) {
	start := loader.Token{}
	if s.from != nil {
		start = s.from.Token
	}
	line := newPipeline(s, start)
	loop := train.NewLoop(s.trainer, s.store, train.LoopOptions{
		Steps: int64(s.config.Train.Steps), Epochs: int64(s.config.Train.Epochs), PerPass: s.manifest.Samples(),
		CheckpointEvery: int64(s.config.Sink.CheckpointEvery), ProbeEvery: int64(s.config.Eval.Every), Stop: stop,
	}, train.Hooks{
		Step:  func(r train.StepResult) error { return s.step(r, bar) },
		Dead:  s.deadLetters,
		Seal:  s.seal,
		Probe: s.probe,
		Saved: func(name string, step int64) error {
			s.log.Info("checkpoint", zap.String("checkpoint", name), zap.Int64("step", step))
			return nil
		},
	}, s.from, s.fromName)
	batches, err := line.start(ctx)
	if err != nil {
		return train.Summary{}, err
	}
	summary, loopErr := loop.Run(ctx, batches)
	if err := line.stop(); err != nil { // the cause of a source that ended
		return summary, errors.Join(err, s.deadLetters(line.pool.Undelivered()))
	}
	return summary, loopErr
}

func (s *session) step(r train.StepResult, bar *cliprogress.Progress) error {
	bar.Update(cliprogress.Line{
		Step: r.Step, Epoch: r.Epoch, Loss: r.Loss, ImagesPerSecond: r.ImagesPerSecond, DataWait: r.DataWait,
	})
	return s.metrics.Step(r)
}

// deadLetters records undecodable images; the first of a run is worth a log line.
func (s *session) deadLetters(letters []loader.DeadLetter) error {
	if len(letters) == 0 {
		return nil
	}
	if s.bad == 0 {
		s.log.Warn("an image cannot be decoded and is skipped; this one and later ones are in "+sink.DeadLettersFile,
			zap.String("key", letters[0].Key), zap.String("reason", letters[0].Reason), zap.String("detail", letters[0].Detail))
	}
	s.bad += int64(len(letters))
	return s.dead.Write(letters)
}

// seal completes a checkpoint with what only the session knows.
func (s *session) seal(c *train.Checkpoint) error {
	length, err := s.dead.Sync()
	if err != nil {
		return err
	}
	if c.Extra[deadLettersKey], err = json.Marshal(length); err != nil {
		return err
	}
	c.Config = config.Essential(s.asked)
	c.Versions = versions(s.backend)
	return s.metrics.Flush()
}

// versions names what made the numbers; the backend's line needs one.
func versions(b *train.Backend) map[string]string {
	v := map[string]string{
		"mocostream": version, "go": runtime.Version(), "arch": runtime.GOARCH,
		"gomlx": moduleVersion("github.com/gomlx/gomlx"), "compute": moduleVersion("github.com/gomlx/compute"),
		"jpeg": jpeg.Name(),
	}
	if b != nil {
		v["backend"] = b.Name()
	}
	return v
}
