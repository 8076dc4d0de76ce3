package main

import (
	"context"
	"errors"

	"mocostream/augment"
	"mocostream/loader"

	"golang.org/x/sync/errgroup"
)

// pipeline is loader and augmentation pool at work for a session.
type pipeline struct {
	session *session
	first   loader.Token
	loader  sampleLoader
	pool    *augment.Pool

	samples chan loader.Sample // from loader to pool

	group  *errgroup.Group
	cancel context.CancelFunc
}

func newPipeline(s *session, start loader.Token) *pipeline {
	return &pipeline{session: s, first: start}
}

// start sets the stages going and returns their batches.
func (p *pipeline) start(ctx context.Context) (<-chan augment.Batch, error) {
	c := p.session.config
	recipe, err := recipeOf(c)
	if err != nil {
		return nil, usageError{err}
	}
	o := poolOptions(c, p.first)
	if q := p.session.quarantine; q != nil {
		o.Refused = q.refuse
	}
	if p.pool, err = augment.NewPool(recipe, o); err != nil {
		return nil, err
	}
	p.loader = p.session.in.loader(loaderOptions(c, p.first))
	ctx, p.cancel = context.WithCancel(ctx)
	p.group, ctx = errgroup.WithContext(ctx)
	batches := make(chan augment.Batch)
	p.samples = make(chan loader.Sample, c.Train.Batch)
	ended := make(chan struct{})
	p.group.Go(func() error {
		err := p.loader.Run(ctx, p.samples)
		if err == nil {
			close(ended)
		}
		return err
	})
	drawn := p.samples
	if replay := p.session.replay; replay != nil {
		drawn = make(chan loader.Sample)
		p.group.Go(func() error { return replay.Run(ctx, p.samples, ended, drawn) })
	}
	p.group.Go(func() error { return p.pool.Run(ctx, drawn, batches) })
	return batches, nil
}

// stop ends the stages and returns what ended them before, if anything did.
func (p *pipeline) stop() error {
	p.cancel()
	err := p.group.Wait()
	for s := range p.samples { // what the loader sent when the pool had ended
		s.Release()
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
