package sink_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mocostream/internal/control"
	"mocostream/internal/flow"
	"mocostream/sink"
	"mocostream/train"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// scrape returns the text of a scrape.
func scrape(t *testing.T, p *sink.Prometheus) string {
	t.Helper()
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("%d, %v:\n%s", w.Code, err, text)
	}
	return string(text)
}

// own returns the lines of a scrape that are of this program, with times and what the machine decides as T.
func own(text string) string {
	volatile := regexp.MustCompile(`(?m)^(mocostream_\w*timestamp_seconds) [1-9].*$`)
	goversion := regexp.MustCompile(`goversion="[^"]*"`)
	var lines []string
	for line := range strings.Lines(text) {
		if name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "); strings.HasPrefix(name, "mocostream_") {
			lines = append(lines, line)
		}
	}
	return goversion.ReplaceAllString(volatile.ReplaceAllString(strings.Join(lines, ""), "$1 T"), `goversion="G"`)
}

// busy is a run to which everything happened.
func busy() *sink.Prometheus {
	p := sink.NewPrometheus(sink.PrometheusOptions{Version: "v1.2.3", Reasons: []string{"truncated", "corrupt"}, Gates: []string{"collapsed"}, Alarms: []string{"drift", "rank"}})
	p.Backend("go")
	p.From(100, 6400)
	p.Observe(train.StepResult{
		Step: 101, Samples: 6464, Epoch: 1.5, Loss: 3.25, LR: .03, Positive: .75, Negative: .125, Top1: .5, Top5: .75, Spread: .875,
		EffectiveRank: 12.5, GradNorm: 2.5, QueueAge: 8.5, QueueLag: 90, Masked: .25, Apart: .375, ImagesPerSecond: 1000, DataWait: .0625,
	})
	p.Observe(train.StepResult{Step: 102, Discarded: true, Samples: 6528, Epoch: 1.5, Loss: 3, LR: .03, Positive: .75, Negative: .125, Top1: .5, Top5: .75, Spread: .875, EffectiveRank: 12.5, GradNorm: 2.5, QueueAge: 8.5, QueueLag: 90, Masked: .25, Apart: .375, DataWait: .0625})
	p.Probe("animals", .625, .75)
	p.BackwardTransfer(-.125)
	p.Alarm("rank", true)
	p.Drift(100, &train.DriftResult{Step: 102, MMD2: .0625, PValue: .5, Sources: 64})
	p.Checkpoint(102, 1500*time.Millisecond)
	p.CheckpointFailed()
	p.Commit(nil)
	p.Commit(errors.New("no coordinator"))
	p.Bad("truncated", 3)
	p.Published(90)
	p.Refused("collapsed")
	p.Attach(sink.Feeds{
		State: func() control.Snapshot {
			return control.Snapshot{State: control.Waiting, Stalled: true, Problem: "credentials expired", Progress: 2.5}
		},
		Partitions: func() []sink.PartitionStats {
			return []sink.PartitionStats{
				{Topic: "images", Partition: 0, Records: 10, Bytes: 1000, Aborted: 1, Lost: 2, Shed: 3, ChecksumErrors: 4, Retries: 5, Reconnects: 6,
					LagRecords: 7, LagSeconds: 8.5, RetentionLeft: 9},
				{Topic: "images", Partition: 1, Records: 20, NothingIsKnown: true},
			}
		},
		Objects: func() sink.ObjectStats {
			return sink.ObjectStats{Objects: 1, Bytes: 2, Skipped: 3, Corrupt: 4, Late: 5, Pending: 6, Paused: true}
		},
		Loader: func() sink.LoaderStats {
			return sink.LoaderStats{HeldBytes: 1, LimitBytes: 2, Samples: 3, Duplicates: 4, MergeTimeouts: 5, BatchesQueued: 6}
		},
		Replay: func() sink.ReplayStats {
			return sink.ReplayStats{Samples: 1, Size: 2, Bytes: 3, Admitted: 4, Evicted: 5, Undrawn: 6, Draws: 7, PerTaken: 1.75, Age: 8}
		},
		Flow: func() flow.Figures {
			return flow.Figures{Memory: .125, Stages: []flow.Stage{
				{Name: flow.Fetch, Workers: 8, Busy: .5, Queued: 100, WaitOutput: .25},
				{Name: flow.Device, Workers: 1, Busy: .75, WaitInput: .25},
			}}
		},
	})
	return p
}

// The whole text, so that no name, unit or type changes unnoticed: dashboards and alerts hold on to them.
func TestPrometheusText(t *testing.T) {
	const golden = "testdata/metrics.prom"
	got := own(scrape(t, busy()))
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestPrometheusNames(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, busy()))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "mocostream_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// Before anything happened there are the counters that alerts watch, at 0, and nothing of sources that do not exist.
func TestPrometheusAtTheStart(t *testing.T) {
	p := sink.NewPrometheus(sink.PrometheusOptions{Version: "v1", Reasons: []string{"truncated"}, Gates: []string{"worse"}, Alarms: []string{"drift"}})
	text := scrape(t, p)
	for _, want := range []string{
		"mocostream_bad_images_total{reason=\"truncated\"} 0\n", "mocostream_publish_refused_total{gate=\"worse\"} 0\n",
		"mocostream_steps_total 0\n", "mocostream_alarm{alarm=\"drift\"} 0\n", "mocostream_drift_p_value 1\n", "mocostream_discarded_steps_total 0\n", "mocostream_commit_failures_total 0\n", "go_goroutines ", "process_cpu_seconds_total ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
	for _, absent := range []string{"lag_records", "objects_total", "loader_bytes", "mocostream_state"} {
		if strings.Contains(text, absent) {
			t.Errorf("there is %s of nothing", absent)
		}
	}
}

// A restart, a source opened twice under one name, bytes that are no text: no scrape fails.
func TestPrometheusBearsAnything(t *testing.T) {
	p := sink.NewPrometheus(sink.PrometheusOptions{})
	p.Bad("\xff\xfe", 1)
	p.Probe("a\nb\"", 1, 1)
	p.Drift(5, nil)
	p.Observe(train.StepResult{Step: 1, Samples: 10, Loss: math.NaN()})
	p.Observe(train.StepResult{Step: 1, Samples: 5}) // never: a counter still does not fall
	p.Attach(sink.Feeds{Partitions: func() []sink.PartitionStats {
		return []sink.PartitionStats{
			{Topic: "t", Lost: 1, LagRecords: 5, LagSeconds: 2, RetentionLeft: 7},
			{Topic: "t", Lost: 2, NothingIsKnown: true},
			{Topic: "t", Lost: 4, LagRecords: 10, LagSeconds: 1, RetentionLeft: 3},
			{Topic: "\xff"},
		}
	}})
	text := scrape(t, p)
	for _, want := range []string{
		`mocostream_records_lost_total{partition="0",topic="t"} 7`, `mocostream_lag_records{partition="0",topic="t"} 15`,
		`mocostream_lag_seconds{partition="0",topic="t"} 2`, `mocostream_retention_left_records{partition="0",topic="t"} 3`,
		"mocostream_samples_total 10\n", "mocostream_loss 0\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
}

func TestPrometheusWhileItIsScraped(t *testing.T) {
	p := busy()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := int64(0); ctx.Err() == nil; i++ {
			p.Observe(train.StepResult{Step: i, Samples: i})
			p.Bad("corrupt", 1)
			p.Attach(sink.Feeds{})
		}
	})
	for range 20 {
		scrape(t, p)
	}
	cancel()
	wg.Wait()
}

var (
	metricName = regexp.MustCompile(`mocostream_[a-z0-9_]+`)
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (mocostream_\w+) (\w+)$`)
	pageRow    = regexp.MustCompile("(?m)^\\| `(mocostream_\\w+)(?:\\{([^}]*)\\})?` \\| (\\w+) \\|")
)

// families are the metrics that a run has, with their types.
func families(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range typeLine.FindAllStringSubmatch(scrape(t, busy()), -1) {
		all[m[1]] = m[2]
	}
	if len(all) == 0 {
		t.Fatal("a run has no metrics")
	}
	return all
}

// The page lists every metric once, with its type, and none that is not there.
func TestPrometheusIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	have, listed := families(t), map[string]bool{}
	for _, row := range pageRow.FindAllStringSubmatch(string(page), -1) {
		if listed[row[1]] {
			t.Errorf("%s is listed twice", row[1])
		}
		listed[row[1]] = true
		if have[row[1]] != row[3] {
			t.Errorf("%s is listed as a %s and is %q", row[1], row[3], have[row[1]])
		}
	}
	for name := range have {
		if !listed[name] {
			t.Errorf("%s is not listed", name)
		}
	}
}

// What is deployed asks only for metrics that exist.
func TestDeploymentsUseMetricsThatExist(t *testing.T) {
	have := families(t)
	files := []string{"../docs/operations.md", "../deploy/prometheus/alerts.yaml", "../deploy/grafana/mocostream.json"}
	for _, file := range files {
		text, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(text), -1)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if b, ok := strings.CutSuffix(name, suffix); ok && have[b] == "histogram" {
					base = b
				}
			}
			if have[base] == "" {
				t.Errorf("%s asks for %s, which does not exist", file, name)
			}
		}
		if len(names) == 0 {
			t.Errorf("%s asks for nothing", file)
		}
	}
}
