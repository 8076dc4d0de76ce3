package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/internal/failpoint"
	"mocostream/internal/safetensors"
	"mocostream/sink"
	"mocostream/train"
	"mocostream/train/eval"

	"go.uber.org/zap"
)

// publishedKey is where a checkpoint keeps what was published.
const publishedKey = "published"

// Gates that hold an encoder back, as a metric names them.
const (
	gateFinite    = "finite"
	gateCollapsed = "collapsed"
	gateWorse     = "worse"
)

// version is a published encoder and how it answered the probes' queries.
type publishedVersion struct {
	Version string            `json:"version"`
	Step    int64             `json:"step"`
	Top1    float64           `json:"top1"`              // mean over the probes
	Correct map[string][]bool `json:"correct,omitempty"` // by probe
}

// published is what a run has published: an encoder must not be worse than the last one, nor than the best.
type published struct {
	Last *publishedVersion `json:"last,omitempty"`
	Best *publishedVersion `json:"best,omitempty"`
}

// publishDue publishes the encoder where it is time to.
func (s *session) publishDue(ctx context.Context, step int64) error {
	if every := int64(s.config.Sink.Publish.Every); every == 0 || step%every != 0 {
		return nil
	}
	return s.publish(ctx, step)
}

// publish exports the query encoder as of now as a version, if the gates hold. A refusal is no error.
func (s *session) publish(ctx context.Context, step int64) error {
	now := &publishedVersion{Version: fmt.Sprintf("step-%09d", step), Step: step}
	gate, why, err := s.gates(ctx, now)
	if err != nil {
		return fmt.Errorf("publish step %d: %w", step, err)
	}
	if gate != "" {
		s.watch.refused(gate)
		s.log.Warn("the encoder is not published", zap.Int64("step", step), zap.String("gate", gate), zap.String("why", why))
		return nil
	}
	where, err := s.exportVersion(ctx, now)
	if err != nil {
		return fmt.Errorf("publish step %d: %w", step, err)
	}
	s.published.Last = now
	if s.published.Best == nil || now.Top1 >= s.published.Best.Top1 {
		s.published.Best = now
	}
	s.watch.published(step)
	s.log.Info("published the encoder", zap.String("version", now.Version), zap.String("where", where), zap.Float64("knn_top1", now.Top1))
	return nil
}

// gates judges the encoder and says what holds it back; "" if nothing.
func (s *session) gates(ctx context.Context, now *publishedVersion) (gate, why string, err error) {
	if spread := s.last.Spread; spread < s.config.Sink.Publish.MinSpread {
		return gateCollapsed, fmt.Sprintf("the spread of its embedding is %.3f, below sink.publish.min_spread", spread), nil
	}
	weights, err := s.trainer.Weights()
	if err != nil {
		return "", "", err
	}
	if name := train.NotFinite(weights); name != "" {
		return gateFinite, name + " holds a number that is none", nil
	}
	if err := s.answer(ctx, now); err != nil {
		return "", "", err
	}
	for _, before := range []*publishedVersion{s.published.Last, s.published.Best} {
		if why, err := s.worse(before, now); err != nil || why != "" {
			return gateWorse, why, err
		}
	}
	return "", "", nil
}

// answer asks the probes.
func (s *session) answer(ctx context.Context, now *publishedVersion) error {
	if len(s.config.Eval.Probes) == 0 {
		return nil
	}
	job, err := s.encoder()
	if err != nil {
		return err
	}
	now.Correct = map[string][]bool{}
	for _, p := range s.config.Eval.Probes {
		r, err := job.probe(ctx, p)
		if err != nil {
			return fmt.Errorf("probe %s: %w", p.Name, err)
		}
		now.Correct[p.Name] = eval.Correct(r.Query.Backbone, r.Backbone)
		now.Top1 += r.Backbone.Top1 / float64(len(s.config.Eval.Probes))
		s.monitors.probe(train.ProbeResult{Step: now.Step, Probe: p.Name, Top1: r.Backbone.Top1, Top5: r.Backbone.Top5})
	}
	return nil
}

// worse says on which probe an encoder does worse than one before, "" if on none. A probe whose images changed is not
// compared.
func (s *session) worse(before, now *publishedVersion) (string, error) {
	if before == nil {
		return "", nil
	}
	for name, answers := range now.Correct {
		was := before.Correct[name]
		if len(was) != len(answers) {
			continue
		}
		p, err := eval.Worse(was, answers)
		if err != nil {
			return "", err
		}
		if p < s.config.Sink.Publish.MaxPValue {
			return fmt.Sprintf("on probe %s it answers fewer queries than %s (p = %.4f, below sink.publish.max_p_value)", name, before.Version, p), nil
		}
	}
	return "", nil
}

// exportVersion writes the export and makes it the latest. Where another one has the name already, of a history that did
// not survive, v gets the name that it is published under.
func (s *session) exportVersion(ctx context.Context, v *publishedVersion) (string, error) {
	folder, err := os.MkdirTemp("", "mocostream-export-")
	if err != nil {
		return "", fmt.Errorf("make temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	ck, err := s.loop.Checkpoint()
	if err != nil {
		return "", err
	}
	running, err := s.running(ctx, ck)
	if err != nil {
		return "", err
	}
	a := s.config.Augment
	err = sink.Export(folder, ck, sink.ExportOptions{Size: a.Size, Mean: floats32(a.Mean), Std: floats32(a.Std), Running: running})
	if err != nil {
		return "", err
	}
	about, err := json.MarshalIndent(map[string]any{"step": v.Step, "samples": ck.Samples, "knn_top1": v.Top1}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("describe the export: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "version.json"), append(about, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("describe the export: %w", err)
	}
	where, err := s.publisher.Publish(ctx, v.Version, folder)
	if err != nil {
		return "", err
	}
	v.Version = path.Base(where)
	if s.embeddings != nil {
		err = s.embeddings.published(v.Version, ck, running)
	}
	return where, err
}

// openPublisher opens where versions go, and reads what the checkpoint knows of earlier ones.
func (s *session) openPublisher(ctx context.Context) (err error) {
	k := s.config.Sink
	if k.Publish.Every == 0 {
		return nil
	}
	if err := s.readPublished(); err != nil {
		return err
	}
	store, ok := s.store.(*sink.S3Store)
	if !ok {
		s.publisher = &sink.LocalPublisher{Dir: filepath.Join(k.Dir, "exports"), Keep: k.Publish.Keep, Warn: warner(s.log), Point: failpoint.Hit}
		return nil
	}
	client, err := openClient(ctx, k.S3.S3Access, s.log)
	if err != nil {
		return err
	}
	bucket, prefix, _ := config.Bucket(k.S3.URL)
	s.publisher, err = sink.NewS3Publisher(sink.S3PublisherOptions{
		Client: client, Bucket: bucket, Prefix: prefix, Keep: k.Publish.Keep, Check: store.Check, Warn: warner(s.log), Point: failpoint.Hit,
	})
	return err
}

// readPublished reads what the checkpoint knows of earlier versions.
func (s *session) readPublished() error {
	if s.from == nil {
		return nil
	}
	raw, ok := s.from.Extra[publishedKey]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, &s.published); err != nil {
		return fmt.Errorf("%s of the checkpoint: %w", publishedKey, err)
	}
	return nil
}

// estimateImages is how many images give an export its BatchNorm statistics.
const estimateImages = 1024

// errNoReference says that no fixed images are at hand.
var errNoReference = errors.New("no reference images")

// reference is a fixed set of images: those of the first probe, or the first of a source with an end.
func (s *session) reference(ctx context.Context) (src eval.Source, closeSource func(), err error) {
	switch {
	case len(s.config.Eval.Probes) > 0:
		return openReference(ctx, s.config.Eval.Probes[0], limitsOf(s.config))
	case s.in.bounded != nil:
		return eval.Source{Bounded: s.in.bounded}, func() {}, nil
	}
	return eval.Source{}, nil, errNoReference
}

// running re-estimates the query encoder's BatchNorm statistics on the reference images; nil leaves those of training.
func (s *session) running(ctx context.Context, ck *train.Checkpoint) ([]safetensors.Tensor, error) {
	src, closeSource, err := s.reference(ctx)
	if errors.Is(err, errNoReference) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closeSource()
	e, err := train.NewEmbedderFrom(s.backend, embedderOptions(s.config), ck, "q")
	if err != nil {
		return nil, err
	}
	defer e.Close()
	o := evalOptions(s.config)
	o.Max = estimateImages
	if err := eval.Estimate(ctx, src, e, o); err != nil {
		return nil, fmt.Errorf("estimate BatchNorm statistics: %w", err)
	}
	return e.Running()
}

func openReference(ctx context.Context, p config.Probe, limits augment.Limits) (eval.Source, func(), error) {
	manifests, err := os.MkdirTemp("", "mocostream-reference-")
	if err != nil {
		return eval.Source{}, nil, fmt.Errorf("make temporary folder: %w", err)
	}
	src, closer, err := openLabelled(ctx, p.Reference, manifests, limits)
	if err != nil {
		_ = os.RemoveAll(manifests)
		return eval.Source{}, nil, err
	}
	return src, func() {
		_ = closer() // only read
		_ = os.RemoveAll(manifests)
	}, nil
}
