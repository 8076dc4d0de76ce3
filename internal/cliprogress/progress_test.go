package cliprogress_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mocostream/internal/cliprogress"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines returns what a terminal shows at the end: text after the last return of each line.
func lines(out string) []string {
	var shown []string
	for line := range strings.SplitSeq(out, "\n") {
		line = line[strings.LastIndex(line, "\r")+1:]
		for _, code := range []string{"\x1b[0K", "\x1b[2K"} {
			line = strings.ReplaceAll(line, code, "")
		}
		shown = append(shown, strings.TrimSpace(line))
	}
	return shown
}

func TestTerminalShowsTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := cliprogress.New(&out, true, nil, time.Minute, 900)
		p.Update(cliprogress.Line{Step: 1, Loss: 5})
		time.Sleep(10 * time.Second)
		p.Update(cliprogress.Line{Step: 101, Epoch: 1.5, Loss: 2.8512, ImagesPerSecond: 188.4, DataWait: .021})
		got := lines(out.String())[0]
		for _, want := range []string{"11% |", "step 101/900", "epoch 1.50", "loss 2.851", "188 images/s", "wait 2%", "ETA 1m20s"} {
			if !strings.Contains(got, want) {
				t.Errorf("line %q lacks %q", got, want)
			}
		}
		p.Finish()
		if !strings.HasSuffix(out.String(), "\n") || strings.Contains(out.String(), "100%") {
			t.Errorf("a run that stopped early ends with %q", out.String())
		}
	})
}

func TestTerminalCompletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := cliprogress.New(&out, true, nil, time.Minute, 0)
		for step := range int64(10) {
			p.Update(cliprogress.Line{Step: step + 1, Total: 10, Loss: float64(step)})
		}
		p.Finish()
		p.Finish()
		p.Update(cliprogress.Line{Step: 11})
		got := lines(out.String())
		if len(got) != 2 || !strings.Contains(got[0], "100%") || !strings.Contains(got[0], "step 10/10") || !strings.Contains(got[0], "loss 9.000") {
			t.Errorf("terminal shows %q", got)
		}
	})
}

func TestTerminalIsNotDrawnForEveryStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := cliprogress.New(&out, true, nil, time.Minute, 1_000_000)
		for step := range int64(1000) {
			p.Update(cliprogress.Line{Step: step + 1})
			time.Sleep(time.Millisecond)
		}
		if n := strings.Count(out.String(), "step "); n < 9 || n > 20 {
			t.Errorf("drawn %d times in a second", n)
		}
		p.Finish()
		if got := lines(out.String())[0]; !strings.Contains(got, "step 1000/") {
			t.Errorf("terminal is left with %q", got)
		}
	})
}

func TestTerminalWithoutAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := cliprogress.New(&out, true, nil, time.Minute, 0)
		for step := range int64(50) {
			p.Update(cliprogress.Line{Step: step + 1, Note: "queue fills"})
			time.Sleep(time.Second)
		}
		got := lines(out.String())[0]
		if !strings.Contains(got, "step 50  loss") || strings.Contains(got, "ETA") || !strings.Contains(got, "queue fills") {
			t.Errorf("terminal shows %q", got)
		}
		p.Finish()
	})
}

func TestResumedRunPredictsByItsOwnPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := cliprogress.New(&out, true, nil, time.Minute, 1000)
		p.Update(cliprogress.Line{Step: 900})
		time.Sleep(10 * time.Second)
		p.Update(cliprogress.Line{Step: 910})
		if got := lines(out.String())[0]; !strings.Contains(got, "91%") || !strings.Contains(got, "ETA 1m30s") {
			t.Errorf("terminal shows %q", got)
		}
		p.Finish()
	})
}

func TestOtherOutputStandsAboveTheBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := cliprogress.New(&out, true, nil, time.Minute, 10)
		p.Update(cliprogress.Line{Step: 3})
		if n, err := p.Write([]byte("saved checkpoint\n")); n != 17 || err != nil {
			t.Errorf("write: %d, %v", n, err)
		}
		got := lines(out.String())
		if len(got) != 2 || got[0] != "saved checkpoint" || !strings.Contains(got[1], "step 3/10") {
			t.Errorf("terminal shows %q", got)
		}
		p.Finish()
		out.Reset()
		if _, err := p.Write([]byte("bye\n")); err != nil || out.String() != "bye\n" {
			t.Errorf("after the end: %q, %v", out.String(), err)
		}
	})
}

func TestOtherOutputStandsBelowAFullBar(t *testing.T) {
	var out bytes.Buffer
	p := cliprogress.New(&out, true, nil, time.Minute, 10)
	p.Update(cliprogress.Line{Step: 10})
	if _, err := p.Write([]byte("saved checkpoint\n")); err != nil {
		t.Fatal(err)
	}
	p.Finish()
	got := lines(out.String())
	if len(got) != 3 || !strings.Contains(got[0], "100%") || got[1] != "saved checkpoint" || got[2] != "" {
		t.Errorf("terminal shows %q", got)
	}
}

func TestLogLinesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		core, logs := observer.New(zapcore.InfoLevel)
		p := cliprogress.New(&out, false, zap.New(core), 30*time.Second, 1000)
		for step := range int64(95) {
			p.Update(cliprogress.Line{Step: step + 1, Epoch: .5, Loss: 3, ImagesPerSecond: 64, DataWait: .25, Note: "n"})
			time.Sleep(time.Second)
		}
		p.Finish()
		var steps []int64
		for _, e := range logs.All() {
			steps = append(steps, e.ContextMap()["step"].(int64))
		}
		if want := []int64{1, 31, 61, 91, 95}; len(steps) != 5 || [5]int64(steps) != [5]int64(want) {
			t.Errorf("logged steps %v, want %v", steps, want)
		}
		got := logs.All()[2].ContextMap()
		for k, want := range map[string]any{"steps": int64(1000), "epoch": .5, "loss": 3., "images_per_second": 64., "data_wait": .25,
			"eta": 939 * time.Second, "note": "n"} {
			if got[k] != want {
				t.Errorf("%s is %v, want %v", k, got[k], want)
			}
		}
		if out.Len() != 0 {
			t.Errorf("wrote %q beside the log", out.String())
		}
	})
}

func TestFinishBeforeTheFirstLine(t *testing.T) {
	var out bytes.Buffer
	core, logs := observer.New(zapcore.InfoLevel)
	cliprogress.New(&out, true, nil, time.Second, 10).Finish()
	cliprogress.New(&out, false, zap.New(core), time.Second, 10).Finish()
	if out.Len() != 0 || logs.Len() != 0 {
		t.Errorf("wrote %q, logged %d", out.String(), logs.Len())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestBrokenTerminalStopsNothing(t *testing.T) {
	p := cliprogress.New(broken{}, true, nil, time.Second, 2)
	p.Update(cliprogress.Line{Step: 1})
	p.Update(cliprogress.Line{Step: 2})
	p.Finish()
	if _, err := p.Write([]byte("x")); err == nil {
		t.Error("other output went nowhere in silence")
	}
}

func TestConcurrentUse(t *testing.T) {
	var out bytes.Buffer
	p := cliprogress.New(&out, true, nil, time.Second, 4000)
	var wg sync.WaitGroup
	for worker := range int64(4) {
		wg.Go(func() {
			for step := range int64(200) {
				p.Update(cliprogress.Line{Step: worker*1000 + step})
				if _, err := p.Write([]byte("line\n")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	p.Finish()
	if n := strings.Count(out.String(), "line\n"); n != 800 {
		t.Errorf("%d lines arrived, want 800", n)
	}
}
