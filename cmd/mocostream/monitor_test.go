package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A run that is watched has the weights of one that is not, and killed on the way it measures and tells what it would have.
func TestMonitorsOnlyLook(t *testing.T) {
	set := []string{"ingest.dir=" + images(t, 90, 1), "ingest.source=key"}
	plain, whole, dir := filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
	program(t, tiny(plain, set...)...).want(t, exitOK)
	set = append(set, "monitor.after=4", "monitor.min_spread=1", "monitor.drift.every=6", "monitor.drift.images=24", "monitor.drift.alpha=0.05")
	const alarm = "the embeddings become alike"
	o := program(t, tiny(whole, set...)...).want(t, exitOK, alarm, "the reference of drift is taken", "mmd2")
	if n := strings.Count(o.err, alarm); n != 1 {
		t.Errorf("the alarm is told %d times", n)
	}
	const last = "step-000000040"
	for _, name := range []string{"model.safetensors", "optimizer.safetensors"} {
		if !bytes.Equal(read(t, filepath.Join(plain, last, name)), read(t, filepath.Join(whole, last, name))) {
			t.Errorf("%s differs from that of a run that nobody watches", name)
		}
	}
	compared := 0
	for _, line := range jsonLines(t, filepath.Join(whole, "metrics.jsonl")) {
		if _, ok := line["drift"]; ok {
			compared++
		}
	}
	if compared != 4 { // windows end at steps 10, 16, ..., 40; two are the reference
		t.Errorf("%d windows compared, want 4", compared)
	}
	p := start(t, nil, followed(tiny(dir, set...))...)
	if _, ok := p.await(t, 19); !ok {
		t.Fatalf("ended before step 19:\n%s", p.stderr())
	}
	kill(t, p)
	if o := program(t, tiny(dir, set...)...).want(t, exitOK, "going on from checkpoint"); strings.Contains(o.err, alarm) {
		t.Error("the alarm is told again by the process that goes on")
	}
	sameRun(t, whole, dir)
	if !bytes.Equal(read(t, filepath.Join(whole, last, driftFile)), read(t, filepath.Join(dir, last, driftFile))) {
		t.Errorf("%s differs from that of the run that nobody disturbed", driftFile)
	}
}

// Probes by phase: the report and what a checkpoint remembers say what was forgotten.
func TestForgettingIsReported(t *testing.T) {
	dir, run := images(t, 60, 1), filepath.Join(t.TempDir(), "run")
	query := images(t, 24, 2)
	probe := func(name string) string { return fmt.Sprintf("{name: %s, reference: %q, query: %q}", name, dir, query) }
	args := tiny(run, "ingest.dir="+dir, "train.steps=12", "eval.every=5", "eval.k=5", "eval.probes=["+probe("spring")+", "+probe("summer")+"]")
	program(t, args...).want(t, exitOK, "probe spring at step 5", "probe summer at step 12")
	if page := string(read(t, filepath.Join(run, reportFile))); !strings.Contains(page, "backward transfer") || !strings.Contains(page, "spring") {
		t.Error("the report does not say what was forgotten")
	}
	state := string(read(t, filepath.Join(run, "step-000000012", "state.json")))
	for _, want := range []string{`"spring"`, `"best_step"`} {
		if !strings.Contains(state, want) {
			t.Errorf("the checkpoint does not know %s", want)
		}
	}
}
