package sink

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mocostream/train"
)

func metrics(t *testing.T, dir string, step int64, every time.Duration) *Metrics {
	t.Helper()
	m, err := OpenMetrics(dir, step, every)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func writeSteps(t *testing.T, m *Metrics, from, to int64) {
	t.Helper()
	for s := from; s <= to; s++ {
		if err := m.Step(train.StepResult{Step: s, Loss: float64(s) / 2}); err != nil {
			t.Fatal(err)
		}
		if s%10 == 0 {
			if err := m.Probe(train.ProbeResult{Step: s, Probe: "knn", Top1: 0.5}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func readAll(t *testing.T, dir string, n int) (steps, probes []int64) {
	t.Helper()
	h, err := ReadMetrics(filepath.Join(dir, MetricsFile), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range h.Steps {
		steps = append(steps, r.Step)
	}
	for _, p := range h.Probes {
		probes = append(probes, p.Step)
	}
	return steps, probes
}

func span(from, to, stride int64) []int64 {
	var s []int64
	for ; from <= to; from += stride {
		s = append(s, from)
	}
	return s
}

// A run that goes on from step 20 leaves the history of one that was never cut off.
func TestMetricsTellTheSurvivingHistory(t *testing.T) {
	dir := t.TempDir()
	m := metrics(t, dir, -1, 0)
	writeSteps(t, m, 1, 25)
	m.Close()
	path := filepath.Join(dir, MetricsFile)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\x00\x00\n" + strings.Repeat("x", 2*maxLine) + "\n" + `{"step":2`); err != nil { // damage, and a torn end
		t.Fatal(err)
	}
	f.Close()
	if steps, _ := readAll(t, dir, 0); !slices.Equal(steps, span(1, 25, 1)) {
		t.Errorf("damaged file: steps %v", steps)
	}
	m = metrics(t, dir, 20, 0)
	steps, probes := readAll(t, dir, 0)
	equal(t, "steps after the cut", steps, span(1, 20, 1))
	equal(t, "probes after the cut", probes, []int64{10, 20})
	writeSteps(t, m, 21, 30)
	m.Close()

	whole := t.TempDir()
	m = metrics(t, whole, -1, 0)
	writeSteps(t, m, 1, 30)
	m.Close()
	equal(t, "file", tree(t, dir), tree(t, whole))

	metrics(t, dir, -1, 0)
	if steps, _ := readAll(t, dir, 0); len(steps) != 0 {
		t.Errorf("without a checkpoint steps %v survive", steps)
	}
}

func TestMetricsAreFlushedInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, err := OpenMetrics(dir, -1, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for round := int64(1); round <= 2; round++ {
			writeSteps(t, m, round, round)
			time.Sleep(4 * time.Second)
			if steps, _ := readAll(t, dir, 0); int64(len(steps)) != round-1 {
				t.Errorf("after 4 s: %v", steps)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if steps, _ := readAll(t, dir, 0); int64(len(steps)) != round {
				t.Errorf("after 6 s: %v", steps)
			}
		}
		writeSteps(t, m, 3, 3)
		if err := m.Flush(); err != nil {
			t.Fatal(err)
		}
		if steps, _ := readAll(t, dir, 0); len(steps) != 3 {
			t.Errorf("after Flush: %v", steps)
		}
	})
}

func TestMetricsErrorOfTheTimerIsReturned(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m, err := OpenMetrics(dir, -1, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		writeSteps(t, m, 1, 1)
		m.file.Close()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := m.Step(train.StepResult{Step: 2}); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("error %v, want that of the closed file", err)
		}
	})
}

func TestMetricsOfADivergedRun(t *testing.T) {
	dir := t.TempDir()
	m := metrics(t, dir, -1, 0)
	want := train.StepResult{Step: 7, Samples: 1 << 60, Loss: math.NaN(), GradNorm: math.Inf(1), LR: 0.03}
	if err := m.Step(want); err != nil {
		t.Fatal(err)
	}
	h, err := ReadMetrics(filepath.Join(dir, MetricsFile), 0)
	if err != nil || len(h.Steps) != 1 {
		t.Fatalf("read %v, %v", h, err)
	}
	got := h.Steps[0]
	if !math.IsNaN(got.Loss) || !math.IsNaN(got.GradNorm) {
		t.Errorf("loss %g and gradient %g, want NaN", got.Loss, got.GradNorm)
	}
	got.Loss, got.GradNorm, want.Loss, want.GradNorm = 0, 0, 0, 0
	equal(t, "the rest", got, want)
}

func TestReadMetricsThinsOut(t *testing.T) {
	dir := t.TempDir()
	m := metrics(t, dir, -1, time.Hour)
	writeSteps(t, m, 1, 1000)
	for s := int64(5); s <= 1000; s += 5 { // two probes in turn must both be seen
		if err := m.Probe(train.ProbeResult{Step: s, Probe: []string{"a", "b"}[s/5%2]}); err != nil {
			t.Fatal(err)
		}
	}
	m.Close()
	for n := 1; n < 40; n++ {
		steps, _ := readAll(t, dir, n)
		if len(steps) > n || len(steps) <= n/2 || steps[len(steps)-1] != 1000 || n > 1 && steps[0] != 1 {
			t.Fatalf("n=%d: steps %v", n, steps)
		}
		for i := 2; i < len(steps)-1; i++ {
			if steps[i]-steps[i-1] != steps[1]-steps[0] {
				t.Fatalf("n=%d: steps %v are not evenly spaced", n, steps)
			}
		}
	}
	h, err := ReadMetrics(filepath.Join(dir, MetricsFile), 4)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, p := range h.Probes {
		count[p.Probe]++
	}
	for _, name := range []string{"a", "b", "knn"} {
		if count[name] < 3 || count[name] > 4 {
			t.Errorf("%d points of probe %s, want 3 or 4", count[name], name)
		}
	}
	if steps, _ := readAll(t, dir, 5000); len(steps) != 1000 {
		t.Errorf("%d steps, want all", len(steps))
	}
}

// Comparisons are a series of their own, and are cut with the steps that they came after.
func TestMetricsOfDrift(t *testing.T) {
	dir := t.TempDir()
	m := metrics(t, dir, -1, 0)
	writeSteps(t, m, 1, 30)
	want := []train.DriftResult{{Step: 10, MMD2: -.25, PValue: .5, Sources: 30}, {Step: 20, MMD2: .5, PValue: .001, Sources: 20, Alarm: true}}
	for _, r := range append(want, train.DriftResult{Step: 30, MMD2: .25}) {
		if err := m.Drift(r); err != nil {
			t.Fatal(err)
		}
	}
	m.Close()
	metrics(t, dir, 29, 0).Close()
	h, err := ReadMetrics(filepath.Join(dir, MetricsFile), 0)
	if err != nil || len(h.Steps) != 29 || len(h.Probes) != 2 {
		t.Fatalf("%d steps, %d probes, %v", len(h.Steps), len(h.Probes), err)
	}
	equal(t, "drift", h.Drift, want)
}
