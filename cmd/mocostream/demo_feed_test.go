package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// The demo through each stand-in at a size that learns nothing: the trainer is killed half-way, another goes on, and the
// ledger is whole.
func TestDemoFeeds(t *testing.T) {
	t.Setenv(childEnv, "1")
	for _, from := range []string{"kafka", "s3"} {
		t.Run(from, func(t *testing.T) {
			d := wholeDemo(demoCommand{From: from, Out: filepath.Join(t.TempDir(), "demo"), logFlags: logFlags{LogFormat: "json"}, JSON: true})
			d.images, d.queries = 60, 24
			d.set = append(d.set, "augment.size=16", "train.width=4", "train.dim=16", "train.k=16", "train.batch=8", "train.steps=10",
				"train.schedule.warmup_steps=2", "train.backend=go", "sink.checkpoint_every=2", "eval.every=5")
			var out, log bytes.Buffer
			if err := d.run(&terminal{out: &out, err: &log, ctx: t.Context()}); err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			got := output{out: out.String()}.object(t)
			ledger, _ := got["ledger"].(map[string]any)
			if got["steps"] != 10.0 || got["from"] != from || ledger["samples"] != 80.0 || ledger["missing"] != 0.0 || ledger["repeated"] != 0.0 {
				t.Errorf("printed %v", got)
			}
			if text := log.String(); !strings.Contains(text, "stand-in") || !strings.Contains(text, "killed (SIGKILL) after step 5") {
				t.Errorf("said:\n%s", text)
			}
		})
	}
}
