package flow

import (
	"context"
	"sync"
	"time"
)

const (
	look   = 5 * time.Second  // between two looks at the stages
	settle = 10 * time.Second // with one setting before there is another
	notice = 30 * time.Second // of figures before a trainer counts as starved
)

// Governor looks after a running pipeline: it knows the figures of the last minute, tunes the numbers of workers and
// fetchers, and says once for each stage that the trainer starves because of it. Fields are set before Run.
type Governor struct {
	Read    func() Totals
	Apply   func(Setting) // takes a setting up; called by Run alone
	Setting Setting       // as it is at first
	Tuner   Tuner
	Means   Means
	// Tuned is told of a new setting and why, Starved where a starving trainer's images are held up. nil: nobody is.
	Tuned   func(s Setting, why string)
	Starved func(Judgement)

	once   sync.Once
	window *Window
	begun  Totals

	mu     sync.Mutex
	latest Judgement
	told   map[string]bool // stages that Starved was told of
}

func (g *Governor) begin() {
	g.once.Do(func() {
		g.begun, g.window, g.told = g.Read(), NewWindow(g.Read), map[string]bool{}
	})
}

// Run looks after the pipeline until ctx is cancelled.
func (g *Governor) Run(ctx context.Context) {
	g.begin()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for since := g.begun; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		g.judge()
		if now := g.Read(); now.At.Sub(since.At) >= settle {
			g.tune(now.Since(since))
			since = now
		}
	}
}

func (g *Governor) tune(f Figures) {
	next, why := g.Tuner.Tune(f, g.Setting)
	if why == "" {
		return
	}
	g.Setting = next
	g.Apply(next)
	if g.Tuned != nil {
		g.Tuned(next, why)
	}
}

func (g *Governor) judge() {
	f := g.window.Figures()
	j := f.Judge(g.Means)
	g.mu.Lock()
	g.latest = j
	device, trains := f.Stage(Device)
	tell := trains && j.Stage != Device && device.WaitInput >= 2*Starved && f.Seconds >= notice.Seconds() && !g.told[j.Stage]
	if tell {
		g.told[j.Stage] = true
	}
	g.mu.Unlock()
	if tell && g.Starved != nil {
		g.Starved(j)
	}
}

// Latest is the judgement of some seconds ago; the zero value before there is one. It costs nothing.
func (g *Governor) Latest() Judgement {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.latest
}

// Figures are those of about the last minute. The methods below may be called concurrently, also before and after Run.
func (g *Governor) Figures() Figures {
	g.begin()
	return g.window.Figures()
}

// Overall are the figures since the first call of any method.
func (g *Governor) Overall() Figures {
	g.begin()
	return g.Read().Since(g.begun)
}
