package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"mocostream/config"
	"mocostream/ingest/s3"
	"mocostream/train"
	"mocostream/train/eval"
	"mocostream/train/knn"

	"go.uber.org/zap"
)

// labelledPair is a reference folder and a query folder, or prefixes of buckets, a sub-folder a class in each.
type labelledPair struct {
	reference, query eval.Source
	closers          []func() error
	manifests        string
}

// openPair opens both, buckets as like reaches them; their lists of files are kept in a temporary folder until close.
func openPair(ctx context.Context, reference, query string, like *config.Config) (p *labelledPair, err error) {
	p = &labelledPair{}
	if p.manifests, err = os.MkdirTemp("", "mocostream-eval-"); err != nil {
		return nil, fmt.Errorf("make temporary folder: %w", err)
	}
	for _, side := range []struct {
		root string
		to   *eval.Source
	}{{reference, &p.reference}, {query, &p.query}} {
		src, closer, err := openLabelledData(ctx, side.root, p.manifests, like)
		if err != nil {
			p.close()
			return nil, err
		}
		*side.to = src
		p.closers = append(p.closers, closer)
	}
	return p, nil
}

// openLabelledData opens a folder, or s3://bucket/prefix, with a sub-folder a class.
func openLabelledData(ctx context.Context, root, manifestDir string, like *config.Config) (eval.Source, func() error, error) {
	if !strings.HasPrefix(root, bucketScheme) {
		return openLabelled(ctx, root, manifestDir, limitsOf(like))
	}
	c := readingOnce(like)
	c.Ingest.S3.URL = strings.TrimSuffix(root, "/") + "/" // what stands before the classes is no part of their names
	c.Ingest.S3.Kind = s3.KindImages
	src, err := openBucket(ctx, c, manifestDir, "", zap.NewNop())
	if err != nil {
		return eval.Source{}, nil, err
	}
	classes, err := src.(interface {
		Classes(ctx context.Context) ([]string, error)
	}).Classes(ctx)
	if err != nil {
		return eval.Source{}, nil, errors.Join(err, src.Close())
	}
	return eval.Source{Bounded: src, Classes: classes}, src.Close, nil
}

// labelledFolder refuses what a flag names if it is neither a folder nor a place in a bucket.
func labelledFolder(flag, path string) error {
	if strings.HasPrefix(path, bucketScheme) {
		if _, _, ok := config.Bucket(path); !ok {
			return usage("%s %s is no place in a bucket; write s3://bucket/prefix", flag, path)
		}
		return nil
	}
	if info, err := os.Stat(path); err != nil {
		return usage("%s: %w; name a folder with a sub-folder a class", flag, err)
	} else if !info.IsDir() {
		return usage("%s %s is no folder; name one with a sub-folder a class", flag, path)
	}
	return nil
}

// close gives everything back; these are only read, so there is nothing to lose.
func (p *labelledPair) close() {
	for _, closer := range p.closers {
		_ = closer()
	}
	_ = os.RemoveAll(p.manifests)
}

// checkProbes finds a folder that is not there before training, and not at the first evaluation.
func checkProbes(c *config.Config) error {
	for i, p := range c.Eval.Probes {
		for _, side := range []struct{ key, root string }{{"reference", p.Reference}, {"query", p.Query}} {
			if info, err := os.Stat(side.root); err != nil {
				return usage("eval.probes[%d].%s: %w; name a folder with a sub-folder a class", i, side.key, err)
			} else if !info.IsDir() {
				return usage("eval.probes[%d].%s: %s is no folder; name one with a sub-folder a class", i, side.key, side.root)
			}
		}
	}
	return nil
}

// probe judges the trainer's query encoder as of now on every probe of the configuration.
func (s *session) probe(ctx context.Context, step int64) error {
	if len(s.config.Eval.Probes) == 0 {
		return nil
	}
	job, err := s.encoder()
	if err != nil {
		return err
	}
	for _, p := range s.config.Eval.Probes {
		r, err := job.probe(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		result := train.ProbeResult{Step: step, Probe: p.Name, Top1: r.Backbone.Top1, Top5: r.Backbone.Top5}
		if err := s.metrics.Probe(result); err != nil {
			return err
		}
		s.monitors.probe(result)
		s.log.Sugar().Infof("probe %s at step %d: k-NN top-1 %.1f %% (head %.1f %%)", p.Name, step, 100*r.Backbone.Top1, 100*r.Head.Top1)
	}
	return nil
}

// encoder is the trainer's query encoder as of now, opened for inference.
func (s *session) encoder() (*encoderJob, error) {
	weights, err := s.trainer.Weights()
	if err != nil {
		return nil, err
	}
	return &encoderJob{
		checkpoint: &train.Checkpoint{Model: weights}, config: s.config, backend: s.backend, which: "q", workers: s.config.Loader.Workers,
	}, nil
}

// probe judges the encoder on one probe of its configuration.
func (j *encoderJob) probe(ctx context.Context, p config.Probe) (*eval.Result, error) {
	o := j.evalOptions()
	o.Max = p.Limit
	pair, err := openPair(ctx, p.Reference, p.Query, j.config)
	if err != nil {
		return nil, err
	}
	defer pair.close()
	e, err := j.embedder()
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return eval.KNN(ctx, e, pair.reference, pair.query, o, eval.Estimated, knn.Options{K: j.config.Eval.K, Temperature: j.config.Eval.Temperature})
}
