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
	"time"

	"mocostream/augment"
	"mocostream/augment/jpeg"
	"mocostream/config"
	"mocostream/internal/cliprogress"
	"mocostream/internal/control"
	"mocostream/internal/failpoint"
	"mocostream/internal/flow"
	"mocostream/internal/safetensors"
	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"
	"mocostream/train/eval"

	"go.uber.org/zap"
)

// deadLettersKey is where a checkpoint keeps the length of the dead-letter file.
const deadLettersKey = "dead_letters"

// sessionOptions say what a session is to do and who watches.
type sessionOptions struct {
	config       *config.Config // as the user wrote it
	log          *zap.Logger
	writer       *lateWriter // where log lines go
	acceptChange bool
	cooldown     *cooldown                                                        // what the run is to be a copy of, and how it ends; nil: a run of its own
	standby      bool                                                             // wait while another process has the run
	watch        *watch                                                           // nil: nobody watches
	calls        *control.Calls                                                   // what others want done between steps; nil: nobody wants anything
	also         func(from *train.Checkpoint, h train.Hooks) (train.Hooks, error) // see terminal
	locked       func() error                                                     // called once the run folder is this process's; nil: nobody asks
}

// session is one pre-training run in its run folder: everything that train wires together.
type session struct {
	sessionOptions
	asked  *config.Config // as the user wrote it
	config *config.Config // with what auto stands for, once the source is known

	store      train.Checkpoints
	copies     *manifestCopies // nil: lists are in the run folder alone
	lost       chan error      // tells that another process has taken the run over; nil: none can
	quarantine *quarantine
	metrics    *sink.Metrics
	dead       *sink.DeadLetters
	discarded  *sink.Discarded
	deadTopic  *deadTopic   // nil: none
	ledger     *sink.Ledger // nil: none is kept
	in         *input
	replay     *replay // nil: batches are of samples as they come
	backend    *train.Backend
	trainer    *train.Trainer
	loop       *train.Loop
	governor   *flow.Governor // of the pipeline; nil before there is one

	from     *train.Checkpoint // nil at the start
	fromName string
	branches bool             // from is of the run that is cooled down
	bad      int64            // dead letters of this session
	last     train.StepResult // of this session

	progressed bool // a checkpoint of this session is durable

	publisher  sink.Publisher
	published  published
	monitors   *monitors
	embeddings *embeddings // nil: none are sent

	neighbours *eval.Source // labelled images for the report's neighbours; nil: the training images

	closers []func() error
}

// openSession opens the run folder, finds the newest checkpoint and brings source and trainer to where it was taken.
func openSession(ctx context.Context, o sessionOptions) (s *session, err error) {
	if o.watch == nil {
		o.watch = newWatch()
	}
	if o.calls == nil {
		o.calls = control.NewCalls()
	}
	s = &session{sessionOptions: o, asked: o.config, config: o.config}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	for _, open := range []func(context.Context) error{s.openStore, s.openInput, s.openTrainer, s.openRecords, s.openPublisher, s.openEmbeddings, s.openMonitors} {
		if err = open(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
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

func (s *session) openStore(ctx context.Context) (err error) {
	if s.store, err = s.lockStore(ctx); err != nil {
		return err
	}
	if s.locked != nil {
		if err = s.locked(); err != nil {
			return err
		}
	}
	s.from, s.fromName, err = s.store.Newest(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.cooldown != nil:
		s.branches, s.from, s.fromName = true, s.cooldown.start(), s.cooldown.name
	case errors.Is(err, fs.ErrNotExist):
		return s.openQuarantine()
	case err != nil:
		return err
	case s.cooldown != nil:
		if err := s.goOnCooling(); err != nil {
			return err
		}
	}
	s.log.Info("going on from checkpoint", zap.String("checkpoint", s.fromName), zap.Int64("step", s.from.Step))
	s.warnOtherVersions()
	if err := s.checkChanges(s.acceptChange); err != nil {
		return err
	}
	return s.openQuarantine()
}

// openQuarantine notes that this process lives. One that ends by itself, even with an error, is no death.
func (s *session) openQuarantine() (err error) {
	if s.quarantine, err = openQuarantine(s.config.Sink.Dir, s.fromName); err == nil {
		s.onClose(s.quarantine.goodbye)
	}
	return err
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
			s.origin(), strings.Join(refused, "\n  "))
	}
	if len(asked) > 0 {
		return usage("the configuration changed since %s:\n  %s\nset these back, or say --accept-change",
			s.origin(), strings.Join(asked, "\n  "))
	}
	return nil
}

// bring fetches the list of the source's files where the run folder has none.
func (s *session) bring(ctx context.Context, hash string) error {
	if s.branches {
		return s.cooldown.bring(ctx, hash, manifestDir(s.config.Sink.Dir))
	}
	return s.copies.bring(ctx, hash)
}

func (s *session) openInput(ctx context.Context) (err error) {
	if s.from != nil && s.from.Token.Progress.Bounded != nil {
		if err = s.bring(ctx, s.from.Token.Progress.Bounded.Source); err != nil {
			return err
		}
	}
	if s.in, err = openInput(ctx, s.config, s.log, s.from); err != nil {
		return err
	}
	s.onClose(s.in.Close)
	if s.in.manifest != nil {
		if err = s.copies.keep(ctx, s.in.manifest.Hash()); err != nil {
			return err
		}
	}
	if t, ok := s.in.feed.(*topics); ok {
		t.committed = s.watch.committed
	}
	if s.branches {
		if err = s.cool(); err != nil {
			return err
		}
	}
	s.config = resolved(s.asked, s.in.images())
	if images := s.in.images(); images < int64(s.config.Train.Batch) {
		return usage("the source holds %d images, fewer than a batch (train.batch is %d); lower train.batch or add images", images, s.config.Train.Batch)
	}
	return nil
}

func (s *session) openTrainer(context.Context) (err error) {
	if s.backend, err = train.OpenBackend(s.config.Train.Backend); err != nil {
		return err
	}
	s.onClose(func() error { s.backend.Finalize(); return nil })
	s.log.Info("backend", zap.String("backend", s.backend.Config), zap.String("why", s.backend.Why))
	if s.backend.Advice != "" {
		s.log.Info("a faster backend could be used", zap.String("advice", s.backend.Advice))
	}
	o := trainOptions(s.config, s.in.images())
	if o.Mechanism == train.MemoryBank {
		if o.Bank.Rows, err = train.NewRows(s.in.manifest); err != nil {
			return err
		}
	}
	if o.Mechanism == train.MoCo && int64(o.K) >= s.in.images() {
		s.log.Warn("the queue is as long as the whole set: most negatives are views of images seen moments ago; lower train.k",
			zap.Int("k", o.K), zap.Int64("images", s.in.images()))
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
func (s *session) openRecords(ctx context.Context) (err error) {
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
	if s.discarded, err = sink.OpenDiscarded(s.config.Sink.Dir, step); err != nil {
		return err
	}
	if s.dead, err = sink.OpenDeadLetters(s.config.Sink.Dir); err != nil {
		return err
	}
	s.onClose(s.dead.Close)
	err = s.dead.Truncate(length)
	if errors.Is(err, sink.ErrChanged) {
		s.log.Warn("the dead-letter file is shorter than the checkpoint knows", zap.Error(err))
		err = nil
	}
	if err != nil {
		return err
	}
	if err := s.openLedger(); err != nil {
		return err
	}
	return s.openDeadTopic(ctx)
}

// openLedger opens the record of what steps take, where one is wanted.
func (s *session) openLedger() (err error) {
	if !s.config.Sink.Ledger {
		return nil
	}
	if s.ledger, err = sink.OpenLedger(s.config.Sink.Dir, s.from); err == nil {
		s.onClose(s.ledger.Close)
		s.in.ledger = s.ledger
		if why := s.ledger.Begun(); why != "" {
			s.log.Warn(why)
		}
	}
	return err
}

// run trains until the end, stop, or an error.
func (s *session) run(ctx context.Context, stop <-chan struct{}, bar *cliprogress.Progress) (train.Summary, error) {
	ctx, done := s.unlessLost(ctx)
	defer done()
	summary, err := s.trainOn(ctx, stop, bar)
	if cause := context.Cause(ctx); err != nil && errors.Is(err, context.Canceled) && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return summary, err
}

func (s *session) trainOn(ctx context.Context, stop <-chan struct{}, bar *cliprogress.Progress) (train.Summary, error) {
	start := loader.Token{}
	if s.from != nil {
		start = s.from.Token
	}
	start, err := s.openReplay(start)
	if err != nil {
		return train.Summary{}, err
	}
	if s.quarantine.due() {
		if err := s.examine(ctx, start); err != nil {
			return train.Summary{}, err
		}
	}
	hooks := s.hooks(ctx, bar)
	if s.also != nil {
		var err error
		if hooks, err = s.also(s.from, hooks); err != nil {
			return train.Summary{}, err
		}
	}
	line := newPipeline(s, start)
	s.loop = train.NewLoop(s.trainer, s.store, s.loopOptions(stop), hooks, s.from, s.fromName)
	batches, err := line.start(ctx)
	if err != nil {
		return train.Summary{}, err
	}
	defer s.govern(ctx, line)()
	s.watch.attach(s, line)
	s.watch.state.Ready()
	defer s.embed(ctx)()
	summary, loopErr := s.loop.Run(ctx, batches)
	if !errors.Is(loopErr, train.ErrLost) { // else the next session may take calls up
		s.calls.End()
	}
	if err := line.stop(); err != nil { // the cause of a source that ended
		return summary, errors.Join(err, s.deadLetters(line.pool.Undelivered()))
	}
	return summary, loopErr
}

// embed has the embeddings sent until the returned function is called.
func (s *session) embed(ctx context.Context) (stop func()) {
	if s.embeddings == nil {
		return func() {}
	}
	return background(ctx, s.embeddings.run)
}

func (s *session) loopOptions(stop <-chan struct{}) train.LoopOptions {
	o := train.LoopOptions{
		Steps: int64(s.config.Train.Steps), Epochs: int64(s.config.Train.Epochs), PerPass: s.in.perPass(),
		CheckpointEvery: int64(s.config.Sink.CheckpointEvery), CheckpointInterval: s.config.Sink.CheckpointInterval,
		ProbeEvery: int64(s.config.Eval.Every), Stop: stop, Control: s.calls.C(), WaitNotice: waitNotice,
	}
	if s.in.feed != nil {
		o.Epochs = 0
	} else if s.replay != nil { // the buffer is ahead of its draws
		o.Steps = totalSteps(s.config, s.in.images())
	}
	return o
}

// waitNotice is how long a trainer waits for data before the log says so.
const waitNotice = 10 * time.Second

// hooks are what a run does between steps.
func (s *session) hooks(ctx context.Context, bar *cliprogress.Progress) train.Hooks {
	return train.Hooks{
		Batch:     func(b *augment.Batch) error { return s.batch(ctx, b) },
		Step:      func(r train.StepResult) error { return s.step(ctx, r, bar) },
		Dead:      s.deadLetters,
		Discarded: s.discardedStep,
		Seal:      func(c *train.Checkpoint) error { return s.seal(ctx, c) },
		Probe:     s.probe,
		Saved:     func(name string, step int64) error { return s.saved(ctx, name, step) },
		Waiting: func(since time.Time) {
			s.log.Info("waiting for data", zap.Duration("for", time.Since(since).Round(time.Second)))
			s.watch.waiting(since)
		},
		Resumed: func() {
			s.log.Info("data came")
			s.watch.resumed()
		},
	}
}

// batch is shown what a step is about to take.
func (s *session) batch(ctx context.Context, b *augment.Batch) error {
	failpoint.Hit(failpoint.Batch)
	failpoint.Hit(failpoint.StepBefore)
	if err := failpoint.Err(failpoint.StepFails); err != nil {
		return fmt.Errorf("%w: %w", train.ErrLost, err)
	}
	s.replay.batch(b)
	if s.ledger != nil {
		if err := s.ledger.Take(b); err != nil {
			return err
		}
	}
	return s.monitors.batch(ctx, b)
}

func (s *session) step(ctx context.Context, r train.StepResult, bar *cliprogress.Progress) error {
	failpoint.Hit(failpoint.StepAfter)
	token := s.loop.Token()
	s.replay.step(token, r)
	if s.ledger != nil {
		if err := s.ledger.Finish(r.Step); err != nil {
			return err
		}
	}
	s.in.finished(token.Taken())
	bar.Update(cliprogress.Line{
		Step: r.Step, Epoch: r.Epoch, Loss: r.Loss, ImagesPerSecond: r.ImagesPerSecond, DataWait: r.DataWait, Note: s.note(),
	})
	s.last = r
	s.watch.step(r)
	if err := s.metrics.Step(r); err != nil {
		return err
	}
	if err := s.monitors.step(ctx, r); err != nil {
		return err
	}
	if err := s.publishDue(ctx, r.Step); err != nil {
		return err
	}
	return s.carefully(ctx, r.Step)
}

// note is a word on the progress line; "" for a run that goes well.
func (s *session) note() string {
	if n := s.trainer.Discards().Total; n > 0 {
		return fmt.Sprintf("%d steps discarded", n)
	}
	if j := s.governor.Latest(); j.Stage != flow.Device {
		return j.Words
	}
	return ""
}

// saved does what must wait until a checkpoint is durable.
func (s *session) saved(ctx context.Context, name string, step int64) error {
	s.log.Info("checkpoint", zap.String("checkpoint", name), zap.Int64("step", step))
	s.progressed = true
	failpoint.Hit(failpoint.CommitBefore)
	s.in.saved(ctx, name, s.loop.Token().Progress)
	failpoint.Hit(failpoint.CommitAfter)
	s.watch.saved(name, step, s.loop.SaveTook())
	return nil
}

// discardedStep records the images of a step that changed nothing.
func (s *session) discardedStep(samples []train.DiscardedSample) error {
	first := samples[0]
	s.log.Warn("a step is discarded, because its loss or gradient is not finite; its images are in "+sink.DiscardedFile,
		zap.Int64("step", first.Step), zap.Float64("loss", first.Loss), zap.Float64("grad_norm", first.GradNorm), zap.Float64("lr", first.LR))
	return s.discarded.Write(samples)
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
	for _, l := range letters {
		s.watch.bad(l.Reason)
	}
	if err := s.dead.Write(letters); err != nil {
		return err
	}
	return s.deadTopic.add(letters)
}

// seal completes a checkpoint with what only the session knows.
func (s *session) seal(ctx context.Context, c *train.Checkpoint) error {
	length, err := s.dead.Sync()
	if err != nil {
		return err
	}
	if c.Extra[deadLettersKey], err = json.Marshal(length); err != nil {
		return err
	}
	if c.Extra[publishedKey], err = json.Marshal(s.published); err != nil {
		return err
	}
	if s.cooldown != nil {
		if c.Extra[cooldownKey], err = json.Marshal(s.cooldown.cooled); err != nil {
			return err
		}
	}
	if s.ledger != nil {
		if err := s.ledger.Seal(c); err != nil {
			return err
		}
	}
	if err := s.deadTopic.seal(ctx, c.Extra); err != nil {
		return err
	}
	if err := s.in.seal(c); err != nil {
		return err
	}
	if err := s.replay.seal(c); err != nil {
		return err
	}
	if err := s.monitors.seal(c); err != nil {
		return err
	}
	if s.embeddings != nil {
		if err := s.embeddings.seal(c); err != nil {
			return err
		}
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
