package main

import (
	"context"
	"runtime"
	"time"

	"mocostream/internal/flow"

	"go.uber.org/zap"
)

// totals are the counts of the pipeline's stages, and of the device's where there is one.
func (p *pipeline) totals(device func() flow.Counts) flow.Totals {
	loader, pool := p.loader.Stats(), p.pool.Stats()
	fetch, order := loader.Counts()
	work, batch := pool.Counts()
	t := flow.Totals{At: time.Now(), Stages: []flow.Counts{fetch, order, work, batch}, Memory: loader.BudgetWait}
	if device != nil {
		t.Stages = append(t.Stages, device())
	}
	return t
}

// governor looks after a pipeline that was started.
func (p *pipeline) governor(device func() flow.Counts) *flow.Governor {
	l, in := p.session.config.Loader, p.session.in
	now := flow.Setting{Workers: p.pool.Stats().Workers, Fetchers: p.loader.Stats().Fetchers}
	g := &flow.Governor{
		Read:    func() flow.Totals { return p.totals(device) },
		Setting: now,
		Apply: func(s flow.Setting) {
			p.pool.SetWorkers(s.Workers)
			if l, ok := p.loader.(interface{ SetFetchers(int) }); ok {
				l.SetFetchers(s.Fetchers)
			}
		},
		Tuner: flow.Tuner{MaxWorkers: now.Workers, FixedWorkers: l.Workers > 0, MaxFetchers: now.Fetchers},
		Means: flow.Means{
			Processors: runtime.GOMAXPROCS(0), FixedWorkers: l.Workers > 0, FixedFetchers: l.Fetchers > 0,
			Stream: in.bounded == nil, Files: in.manifest != nil && in.manifest.Samples() == int64(in.manifest.Len()),
		},
	}
	if l.Fetchers == 0 {
		g.Tuner.MaxFetchers = maxTunedFetchers
	}
	return g
}

// maxTunedFetchers is how many reads go on at a time at most where their number is not fixed.
const maxTunedFetchers = 64

// govern looks after the pipeline of the session until the returned function is called.
func (s *session) govern(ctx context.Context, line *pipeline) (stop func()) {
	s.governor = line.governor(s.loop.Counts)
	s.governor.Tuned = func(now flow.Setting, why string) {
		s.log.Info("tuned the loader", zap.Int("workers", now.Workers), zap.Int("fetchers", now.Fetchers), zap.String("why", why))
	}
	s.governor.Starved = func(j flow.Judgement) { s.log.Warn("the trainer waits for images: " + j.Words) }
	return background(ctx, s.governor.Run)
}

// background runs f until the returned function is called, which waits for its end.
func background(ctx context.Context, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
