package flow_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mocostream/internal/flow"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// figures are those of a minute. The trainer waits for a share of it; below 0 there is none.
func figures(fetch, order, work, batch flow.Stage, trainer float64) flow.Figures {
	fetch.Name, order.Name, work.Name, batch.Name = flow.Fetch, flow.Order, flow.Augment, flow.Batch
	f := flow.Figures{Seconds: 60, Stages: []flow.Stage{fetch, order, work, batch}}
	if trainer >= 0 {
		f.Stages = append(f.Stages, flow.Stage{Name: flow.Device, Workers: 1, Busy: 1 - trainer, WaitInput: trainer})
	}
	return f
}

func TestJudge(t *testing.T) {
	busy := func(workers int, share float64) flow.Stage { return flow.Stage{Workers: workers, Busy: share} }
	idle := flow.Stage{Workers: 2, Busy: 0.3, WaitInput: 0.7}
	none := flow.Stage{Workers: 1}
	limited := figures(busy(8, 0.1), none, idle, none, 0.31)
	limited.Memory = 0.62
	short := figures(none, none, busy(2, 1), none, 0.5)
	short.Seconds = 12
	long := figures(none, none, busy(2, 1), none, 0.5)
	long.Seconds = 1200
	for _, c := range []struct {
		name        string
		f           flow.Figures
		m           flow.Means
		stage, want string
	}{
		{"trainer", figures(none, none, busy(2, 0.9), none, 0.01), flow.Means{Processors: 2}, flow.Device,
			"device: training is what takes the time; it waited 1 % of the last minute"},
		{"workers on all processors", figures(none, none, busy(2, 1), none, 0.31), flow.Means{Processors: 2}, flow.Augment,
			"augment: 2 of 2 workers busy; trainer waited 31 % of the last minute; more cores or smaller stored images would help"},
		{"fixed workers", figures(none, none, busy(2, 0.95), none, 0.31), flow.Means{Processors: 8, FixedWorkers: true}, flow.Augment,
			"augment: 1.9 of 2 workers busy; trainer waited 31 % of the last minute; more loader.workers would help: there are 8 processors"},
		{"limited workers", figures(none, none, busy(2, 1), none, 0.31), flow.Means{Processors: 8}, flow.Augment,
			"augment: 2 of 2 workers busy; trainer waited 31 % of the last minute; a higher loader.cpu_limit would help: there are 8 processors"},
		{"no trainer", figures(none, none, busy(2, 1), none, -1), flow.Means{Processors: 2}, flow.Augment,
			"augment: 2 of 2 workers busy; more cores or smaller stored images would help"},
		{"disk", figures(busy(8, 0.5), none, idle, none, 0.31), flow.Means{Processors: 2, FixedFetchers: true}, flow.Fetch,
			"fetch: 4 of 8 readers busy; trainer waited 31 % of the last minute; a faster disk or network would help"},
		{"small files", figures(busy(8, 1), none, idle, none, 0.31), flow.Means{Processors: 2, Files: true}, flow.Fetch,
			"fetch: 8 of 8 readers busy; trainer waited 31 % of the last minute; a faster disk or network, or shards (mocostream pack) would help"},
		{"fixed readers", figures(busy(2, 1), none, idle, none, 0.31), flow.Means{Processors: 2, FixedFetchers: true}, flow.Fetch,
			"fetch: 2 of 2 readers busy; trainer waited 31 % of the last minute; more loader.fetchers would help"},
		{"memory", limited, flow.Means{Processors: 2}, flow.Fetch,
			"fetch: reading stood still at loader.memory_limit 62 % of the time; trainer waited 31 % of the last minute; a higher limit would help"},
		{"stream", figures(busy(1, 1), flow.Stage{Workers: 1, WaitInput: 0.9}, idle, none, 0.31), flow.Means{Processors: 2, Stream: true}, flow.Fetch,
			"fetch: waited for the source 90 % of the time; trainer waited 31 % of the last minute; a source that brings more would help"},
		{"order", figures(busy(8, 0.1), busy(1, 0.97), idle, none, 0.31), flow.Means{Processors: 2}, flow.Order,
			"order: its one goroutine was busy 97 % of the time; trainer waited 31 % of the last minute"},
		{"batches", figures(none, none, flow.Stage{Workers: 2, Busy: 0.1, WaitOutput: 0.9}, none, 0.31), flow.Means{Processors: 2}, flow.Batch,
			"batch: workers waited for a free batch 90 % of the time; trainer waited 31 % of the last minute; a smaller train.batch would help"},
		{"a short time", short, flow.Means{Processors: 2}, flow.Augment,
			"augment: 2 of 2 workers busy; trainer waited 50 % of the last 12 s; more cores or smaller stored images would help"},
		{"a long time", long, flow.Means{Processors: 2}, flow.Augment,
			"augment: 2 of 2 workers busy; trainer waited 50 % of the last 20 min; more cores or smaller stored images would help"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.f.Judge(c.m); got.Stage != c.stage || got.Words != c.want {
				t.Errorf("%s: %q\nwant %s: %q", got.Stage, got.Words, c.stage, c.want)
			}
		})
	}
}

func TestTune(t *testing.T) {
	none := flow.Stage{}
	hungry := flow.Stage{Workers: 4, Busy: 0.95}
	fed := flow.Stage{Workers: 4, Busy: 0.3, WaitOutput: 0.7}
	dry := flow.Stage{Workers: 4, Busy: 0.3, WaitInput: 0.7}
	readers := flow.Stage{Workers: 8, Busy: 0.95}
	full := figures(readers, none, dry, none, 0.4)
	full.Memory = 0.5
	now := flow.Setting{Workers: 4, Fetchers: 8}
	for _, c := range []struct {
		name  string
		f     flow.Figures
		tuner flow.Tuner
		want  flow.Setting
	}{
		{"more workers", figures(none, none, hungry, none, 0.3), flow.Tuner{MaxWorkers: 16, MaxFetchers: 64}, flow.Setting{Workers: 6, Fetchers: 8}},
		{"more workers, up to the limit", figures(none, none, hungry, none, 0.3), flow.Tuner{MaxWorkers: 5, MaxFetchers: 64}, flow.Setting{Workers: 5, Fetchers: 8}},
		{"all workers there may be", figures(none, none, hungry, none, 0.3), flow.Tuner{MaxWorkers: 4, MaxFetchers: 64}, now},
		{"fixed workers", figures(none, none, hungry, none, 0.3), flow.Tuner{MaxWorkers: 16, FixedWorkers: true, MaxFetchers: 64}, now},
		{"workers for nobody in particular", figures(none, none, hungry, none, -1), flow.Tuner{MaxWorkers: 16, MaxFetchers: 64}, flow.Setting{Workers: 6, Fetchers: 8}},
		{"a busy trainer", figures(none, none, hungry, none, 0.01), flow.Tuner{MaxWorkers: 16, MaxFetchers: 64}, now},
		{"workers to spare", figures(none, none, fed, none, 0), flow.Tuner{MaxWorkers: 4, MaxFetchers: 64}, flow.Setting{Workers: 2, Fetchers: 8}},
		{"fixed workers to spare", figures(none, none, fed, none, 0), flow.Tuner{MaxWorkers: 4, FixedWorkers: true, MaxFetchers: 64}, now},
		{"more readers", figures(readers, none, dry, none, 0.4), flow.Tuner{MaxWorkers: 4, MaxFetchers: 64}, flow.Setting{Workers: 4, Fetchers: 16}},
		{"fixed readers", figures(readers, none, dry, none, 0.4), flow.Tuner{MaxWorkers: 4, MaxFetchers: 8}, now},
		{"readers without memory", full, flow.Tuner{MaxWorkers: 4, MaxFetchers: 64}, now},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := c.tuner.Tune(c.f, now)
			if got != c.want || (why != "") != (got != now) {
				t.Errorf("%+v because %q, want %+v", got, why, c.want)
			}
		})
	}
}

// What was too little once is not tried again.
func TestTunerRemembersWhatWasTooLittle(t *testing.T) {
	tuner := flow.Tuner{MaxWorkers: 4}
	now, _ := tuner.Tune(figures(flow.Stage{}, flow.Stage{}, flow.Stage{Workers: 2, Busy: 1}, flow.Stage{}, 0.3), flow.Setting{Workers: 2})
	if now.Workers != 3 {
		t.Fatalf("%d workers after 2 were too few", now.Workers)
	}
	now, why := tuner.Tune(figures(flow.Stage{}, flow.Stage{}, flow.Stage{Workers: 3, Busy: 0.4, WaitOutput: 0.6}, flow.Stage{}, 0), now)
	if now.Workers != 3 || why != "" {
		t.Errorf("%d workers, because %q", now.Workers, why)
	}
}

func TestClockCountsSpansThatGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c flow.Clock
		if c.Total() != 0 || c.Active() != 0 {
			t.Errorf("a new clock shows %v", c.Total())
		}
		c.Begin()
		time.Sleep(time.Second)
		c.Begin()
		time.Sleep(time.Second)
		if c.Total() != 3*time.Second || c.Active() != 2 {
			t.Errorf("%v of %d spans, want 3s of 2", c.Total(), c.Active())
		}
		c.End()
		c.End()
		time.Sleep(time.Second)
		if c.Total() != 3*time.Second || c.Active() != 0 {
			t.Errorf("%v of %d spans after the end", c.Total(), c.Active())
		}
	})
}

func TestGateLetsSoManyIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := flow.NewGate(1)
		inside := make(chan bool, 10)
		for range 4 {
			go func() { inside <- g.Enter() }()
		}
		expect := func(n int, what string) {
			t.Helper()
			if synctest.Wait(); len(inside) != n {
				t.Fatalf("%d inside %s, want %d", len(inside), what, n)
			}
		}
		expect(1, "a gate for one")
		g.Set(3)
		expect(3, "a gate for three")
		g.Set(1)
		g.Leave()
		g.Leave()
		expect(3, "that closes behind them")
		g.Leave()
		expect(4, "once all have left")
		g.Leave()
		go func() {
			first := g.Enter()
			inside <- first && g.Enter()
		}()
		g.Close()
		synctest.Wait()
		if g.Limit() != 1 || g.Enter() {
			t.Error("a closed gate lets in")
		}
	})
}

// pipe is a pipeline that somebody counts.
type pipe struct {
	start    time.Time
	work     time.Duration // a second, of all workers
	trainer  time.Duration // waiting, a second
	delivery time.Duration
}

func (p *pipe) totals() flow.Totals {
	seconds := time.Duration(time.Since(p.start) / time.Second)
	return flow.Totals{At: time.Now(), Stages: []flow.Counts{
		{Name: flow.Fetch, Workers: 8}, {Name: flow.Order, Workers: 1},
		{Name: flow.Augment, Workers: 4, Busy: seconds * p.work, WaitOutput: seconds * p.delivery}, {Name: flow.Batch, Workers: 1},
		{Name: flow.Device, Workers: 1, WaitInput: seconds * p.trainer},
	}}
}

func TestGovernorTunesAndTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{start: time.Now(), work: 4 * time.Second, trainer: 300 * time.Millisecond}
		var tuned []flow.Setting
		var starved []string
		g := &flow.Governor{
			Read: p.totals, Setting: flow.Setting{Workers: 4, Fetchers: 8}, Tuner: flow.Tuner{MaxWorkers: 9, MaxFetchers: 8},
			Apply:   func(flow.Setting) {},
			Tuned:   func(s flow.Setting, why string) { tuned = append(tuned, s) },
			Starved: func(j flow.Judgement) { starved = append(starved, j.Words) },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); g.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		cancel()
		<-ended
		if len(tuned) != 2 || tuned[0].Workers != 6 || tuned[1].Workers != 9 {
			t.Errorf("tuned to %v, want 6 and then 9 workers", tuned)
		}
		if len(starved) != 1 || !strings.Contains(starved[0], "trainer waited 30 %") {
			t.Errorf("told %q, want one word about a trainer that waits 30 %% of the time", starved)
		}
		if j := g.Latest(); j.Stage != flow.Augment {
			t.Errorf("latest judgement %+v", j)
		}
		if f := g.Figures(); f.Seconds < 55 || f.Seconds > 65 {
			t.Errorf("a window of %v s", f.Seconds)
		}
		if f := g.Overall(); f.Seconds != 600 {
			t.Errorf("figures of %v s overall", f.Seconds)
		}
	})
}

func TestGovernorLeavesATrainerThatIsFed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{start: time.Now(), work: 600 * time.Millisecond, delivery: 800 * time.Millisecond}
		workers := 4
		g := &flow.Governor{
			Read: p.totals, Setting: flow.Setting{Workers: 4}, Tuner: flow.Tuner{MaxWorkers: 4},
			Apply:   func(s flow.Setting) { workers = s.Workers },
			Starved: func(j flow.Judgement) { t.Errorf("starved: %+v", j) },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		g.Run(ctx)
		if workers != 1 || g.Latest().Stage != flow.Device {
			t.Errorf("%d workers, %+v", workers, g.Latest())
		}
	})
}
