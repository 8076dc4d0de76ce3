package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func cellOf(stream, policy string, seed int, top1 float64) cellResult {
	return cellResult{Stream: stream, Policy: policy, Seed: seed, Top1: top1}
}

func TestLabTable(t *testing.T) {
	first := func(c cellResult, atEnd, last float64) cellResult {
		c.First = []curvePoint{{1, .1}, {2, atEnd}, {3, .2}, {4, last}}
		return c
	}
	table := summarise([]cellResult{
		cellOf("classes", "fifo", 1, .30), cellOf("classes", "fifo", 2, .41),
		cellOf("classes", "default", 1, .40), cellOf("classes", "default", 2, .40),
		cellOf("classes", "iid", 1, .50), cellOf("classes", "iid", 2, .48),
		cellOf("bursts-32", "iid", 1, .50),
		first(cellOf("tasks", "default", 1, .5), .40, .38), first(cellOf("tasks", "default", 2, .5), .40, .40),
		first(cellOf("tasks", "fifo", 1, .5), .40, .30), first(cellOf("tasks", "fifo", 2, .5), .40, .32),
		{Stream: "long", Policy: "default", Seed: 1, Curve: []curvePoint{{1, .5}, {2, .6}, {3, .59}}},
		{Stream: "long", Policy: "default", Seed: 2, Curve: []curvePoint{{1, .5}, {2, .6}, {3, .57}}},
		{Stream: "bursts-256", Policy: "fifo", Seed: 1, Curve: []curvePoint{{1, .2}, {2, .6}, {3, .4}}},
	})
	verdicts := map[string]string{}
	for _, b := range table.Bars {
		verdict := "none"
		if b.Met != nil {
			verdict = map[bool]string{true: "met", false: "missed"}[*b.Met]
		}
		verdicts[b.Stream+" "+b.What] = verdict
	}
	for bar, want := range map[string]string{
		"classes default / iid": "met", "classes default - fifo, worst seed": "missed",
		"bursts-32 default / iid": "none", "bursts-256 default / iid": "none", "tasks forgetting: fifo - default - spread": "met",
		"long 2 points - end below the best, worst seed": "missed",
	} {
		if verdicts[bar] != want {
			t.Errorf("%s: %q, want %q", bar, verdicts[bar], want)
		}
	}
	if err := table.failure(); err == nil || !strings.Contains(err.Error(), "classes, default - fifo, worst seed: -0.010") {
		t.Errorf("the missed bar gives %v", err)
	}
	for _, r := range table.Rows {
		switch r.Stream + " " + r.Policy {
		case "classes fifo":
			if math.Abs(r.Top1-.355) > 1e-9 || math.Abs(r.Spread-.0777817) > 1e-6 || r.Seeds != 2 {
				t.Errorf("%+v", r)
			}
		case "bursts-256 fifo":
			if math.Abs(r.Area-.4) > 1e-9 || math.Abs(r.Drop-.2) > 1e-9 || r.Spread != 0 {
				t.Errorf("%+v", r)
			}
		case "tasks fifo":
			if math.Abs(r.Forgets-.09) > 1e-9 {
				t.Errorf("%+v", r)
			}
		}
	}
}

func TestLabCells(t *testing.T) {
	l := wholeLaboratory(benchContinualCommand{Seeds: 2, First: 1, Streams: []string{"tasks", "classes"}, Policies: []string{"fifo", "default"}})
	cells, err := l.cells()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range cells {
		names = append(names, c.String())
	}
	want := "classes, default, seed 1; classes, fifo, seed 1; tasks, default, seed 1; tasks, fifo, seed 1; " +
		"classes, default, seed 2; classes, fifo, seed 2; tasks, default, seed 2; tasks, fifo, seed 2"
	if got := strings.Join(names, "; "); got != want {
		t.Errorf("cells %s, want %s", got, want)
	}
	code, _, text := command("bench", "continual", "--streams", "films", "--out", t.TempDir())
	if code != exitUsage || !strings.Contains(text, "--streams films: is none of bursts-32, bursts-256") {
		t.Errorf("%d %s", code, text)
	}
}

// A look at two cells at a size that learns nothing; called again it runs none of them, and a changed one anew.
func TestLaboratory(t *testing.T) {
	t.Setenv(childEnv, "1")
	l := wholeLaboratory(benchContinualCommand{
		Out: filepath.Join(t.TempDir(), "lab"), Seeds: 1, First: 1, Streams: []string{"tasks"}, Policies: []string{"default", "fifo"}, Steps: 4, Backend: "go", JSON: true,
	})
	l.images, l.queries, l.drawn, l.size, l.batch, l.curve = 24, 24, 32, 24, 8, 2
	l.set = []string{
		"augment.size=16", "train.arch=resnet10", "train.width=4", "train.stem=cifar", "train.dim=16", "train.k=16", "train.bn_groups=1",
	}
	ran := func(want string) {
		t.Helper()
		var out, log bytes.Buffer
		term := &terminal{out: &out, err: &log, ctx: t.Context()}
		err := l.run(term)
		if err != nil && !strings.Contains(err.Error(), "bars are missed") {
			t.Fatalf("%v\n%s", err, log.String())
		}
		if got := strings.Join(trainedCells(log.String()), "; "); got != want {
			t.Errorf("trained %q, want %q", got, want)
		}
		got := lastObject(t, out.String())
		if cells := got["cells"].([]any); len(cells) != 2 || len(cells[1].(map[string]any)["first"].([]any)) != 2 {
			t.Errorf("prints %v", got)
		}
	}
	ran("tasks, default, seed 1; tasks, fifo, seed 1")
	ran("")
	settings := filepath.Join(l.Out, "cells", "tasks", "fifo", "seed-1", labSettings)
	if err := os.WriteFile(settings, []byte(`["other"]`), 0o644); err != nil {
		t.Fatal(err)
	}
	ran("tasks, fifo, seed 1")
}

// trainedCells are the cells that the log says were trained.
func trainedCells(log string) (cells []string) {
	for line := range strings.Lines(log) {
		if cell, ok := strings.CutPrefix(line, "training: "); ok {
			cells = append(cells, strings.TrimSpace(cell))
		}
	}
	return cells
}

// Stopped before a cell, there is nothing but the advice to call again.
func TestLaboratoryStops(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	l := wholeLaboratory(benchContinualCommand{Out: t.TempDir(), Seeds: 1, Steps: 900, Backend: "go"})
	err := l.run(&terminal{out: &bytes.Buffer{}, err: &bytes.Buffer{}, ctx: t.Context(), stop: stop})
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
}
