package deploy_test

import (
	"encoding/json"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"mocostream/config"

	"github.com/goccy/go-yaml"
)

// manifest is what the tests look at of a Kubernetes object.
type manifest struct {
	Kind string
	Data map[string]string
	Spec struct {
		Replicas int
		Template struct {
			Spec struct {
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
			}
		}
	}
}

// documents reads all YAML documents of a file.
func documents[T any](t *testing.T, path string) []T {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []T
	for d := yaml.NewDecoder(file); ; {
		var v T
		err := d.Decode(&v)
		if err == io.EOF && len(all) > 0 {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, v)
	}
}

// The run that the manifest deploys is a valid one, and has the time to stop that its configuration promises.
func TestKubernetes(t *testing.T) {
	t.Setenv("MOCOSTREAM_TOKEN", "a-token")
	var run *config.Config
	grace := time.Duration(0)
	for _, m := range documents[manifest](t, "kubernetes/mocostream.yaml") {
		switch m.Kind {
		case "ConfigMap":
			c, err := config.ParseForTraining("run.yaml", []byte(m.Data["run.yaml"]), nil)
			if err != nil {
				t.Fatal(err)
			}
			run = c
		case "StatefulSet":
			if m.Spec.Replicas != 1 {
				t.Errorf("%d replicas; one daemon a run folder", m.Spec.Replicas)
			}
			grace = time.Duration(m.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
		}
	}
	if run == nil || run.Daemon.Token != "a-token" || grace <= run.Daemon.ShutdownTimeout {
		t.Errorf("grace period %v, daemon %v", grace, run != nil)
	}
	for _, m := range documents[manifest](t, "kubernetes/keda.yaml") {
		if m.Kind != "ScaledObject" {
			t.Errorf("keda.yaml holds a %s", m.Kind)
		}
	}
}

func TestUnitLeavesTimeToStop(t *testing.T) {
	text, err := os.ReadFile("systemd/mocostream@.service")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)min$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("the unit says nothing of TimeoutStopSec in minutes")
	}
	minutes, err := strconv.Atoi(string(m[1]))
	if limit := config.Default().Daemon.ShutdownTimeout; err != nil || time.Duration(minutes)*time.Minute <= limit {
		t.Errorf("TimeoutStopSec is %d min, %v; a daemon may take %v to stop", minutes, err, limit)
	}
}

// Every alert is explained, with the name that it wakes people by.
func TestAlertsAreDocumented(t *testing.T) {
	type rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range documents[rules](t, "prometheus/alerts.yaml") {
		for _, g := range file.Groups {
			for _, r := range g.Rules {
				if r.Expr == "" || !strings.Contains(string(page), r.Alert) {
					t.Errorf("docs/operations.md does not explain %s (%s)", r.Alert, r.Expr)
				}
			}
		}
	}
}

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("grafana/mocostream.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range board.Panels {
		if seen[p.ID] || p.Title == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q is wrong", p.ID, p.Title)
		}
		seen[p.ID] = true
	}
	if len(seen) == 0 {
		t.Error("the dashboard is empty")
	}
}

// Panels and alerts ask for metrics that there are, and the page of metrics says what those mean.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	metric, suffix := regexp.MustCompile(`\bmocostream_[a-z0-9_]+`), regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, file := range []string{"grafana/mocostream.json", "prometheus/alerts.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := metric.FindAllString(string(text), -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, name := range names {
			if !regexp.MustCompile("`" + suffix.ReplaceAllString(name, "") + "[`{]").Match(page) {
				t.Errorf("%s: docs/operations.md has no %s", file, name)
			}
		}
	}
}
