//go:build integration

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"mocostream/internal/pjrtjax"
)

// TestXLARun trains on XLA. Killed and gone on, the run leaves the bits of one that nobody disturbed; its encoder embeds
// and is judged on XLA too, and says nearly what it says on the Go backend.
func TestXLARun(t *testing.T) {
	backend := pjrtjax.Config(t, pjrtjax.Options{})
	set := append(badFolder(t), "train.backend="+backend)
	whole, dir := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
	program(t, tiny(whole, set...)...).want(t, exitOK)
	p := start(t, nil, followed(tiny(dir, set...))...)
	if _, ok := p.await(t, 17); !ok {
		t.Fatalf("ended before step 17:\n%s", p.stderr())
	}
	kill(t, p)
	program(t, tiny(dir, set...)...).want(t, exitOK, "going on from checkpoint")
	sameRun(t, whole, dir)

	root, _ := folderOf(set)
	query := images(t, 60, 3)
	accuracy := map[string]float64{}
	for _, b := range []string{backend, "go"} {
		got := program(t, "eval", "knn", "--checkpoint", dir, "--reference", root, "--query", query, "--backend", b, "--json").want(t, exitOK).object(t)
		accuracy[b] = got["top1"].(float64)
		out := filepath.Join(t.TempDir(), "features.parquet")
		embedded := program(t, "embed", "--checkpoint", dir, "--data", root, "--out", out, "--backend", b, "--json").want(t, exitOK).object(t)
		if embedded["images"] != 90.0 || embedded["bad_images"] != 3.0 {
			t.Errorf("%s: embed printed %v", b, embedded)
		}
	}
	if d := accuracy[backend] - accuracy["go"]; d > .05 || d < -.05 {
		t.Errorf("k-NN top-1 by backend: %v", accuracy)
	}
}

func TestXLADumpHLO(t *testing.T) {
	backend, file := pjrtjax.Config(t, pjrtjax.Options{}), filepath.Join(t.TempDir(), "step.mlir")
	got := program(t, "doctor", "--dump-hlo", file, "--json", "--set", "train.backend="+backend, "--set", "train.arch=resnet10",
		"--set", "train.width=4", "--set", "train.stem=cifar", "--set", "augment.size=16", "--set", "train.batch=8").want(t, exitOK).object(t)
	text := string(read(t, file))
	if !strings.HasPrefix(text, "module @") || got["bytes"] != float64(len(text)) || got["convolutions"].(float64) < 20 {
		t.Errorf("printed %v; the file begins with %.40q", got, text)
	}
}
