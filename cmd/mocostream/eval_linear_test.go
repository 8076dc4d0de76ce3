package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/s3server"
	"mocostream/internal/safetensors"
	"mocostream/train/eval"

	"go.uber.org/goleak"
)

// linearOf are the arguments of eval linear on a run's own images and others.
func linearOf(t *testing.T, runDir, dir string, more ...string) []string {
	t.Helper()
	return append([]string{"eval", "linear", "--backend", "go", "--checkpoint", runDir, "--train", dir, "--test", images(t, 18, 3)}, more...)
}

func TestEvalLinear(t *testing.T) {
	runDir, set := finished(t)
	dir := strings.TrimPrefix(set[0], "ingest.dir=")
	saved := filepath.Join(t.TempDir(), "classifier.safetensors")
	for protocol, args := range map[string][]string{
		"fast":  {"--fast", "--baseline", "--encoder", "k"},
		"paper": {"--epochs", "2", "--batch", "8", "--lr", "0.5", "--milestones", "1,2", "--crop-scale", "0.2,1", "--save", saved},
	} {
		args = linearOf(t, runDir, dir, args...)
		o := program(t, append(args, "--json")...)
		got := o.want(t, exitOK).object(t)
		keys := []string{"top1", "top5", "training.top1"}
		if protocol == "fast" {
			keys = append(keys, "baseline.untrained.top1", "baseline.pixels.top1", "held_out.top1")
		} else {
			keys = append(keys, "best.top1")
		}
		for _, key := range keys {
			if v, ok := got[key].(float64); !ok || v < 0 || v > 1 {
				t.Errorf("%s: %s is %v, want a share", protocol, key, got[key])
			}
		}
		if got["protocol"] != protocol || got["classes"] != 3.0 || got["train_images"] != 32.0 || got["test_images"] != 18.0 {
			t.Errorf("%s: printed %v", protocol, got)
		}
		limits, _ := got["top1.interval95"].([]any)
		if len(limits) != 2 || !(limits[0].(float64) < got["top1"].(float64)+1e-9) || !(limits[1].(float64) > got["top1"].(float64)-1e-9) {
			t.Errorf("%s: top-1 of %v within %v", protocol, got["top1"], limits)
		}
		if by, _ := got["by_class"].(map[string]any); len(by) != 3 {
			t.Errorf("%s: by class %v", protocol, got["by_class"])
		}
		if !strings.Contains(o.err, "\ttraining: ") || strings.Count(o.out, "\n") != 1 {
			t.Errorf("%s: printed\n%s%s", protocol, o.out, o.err)
		}
	}
	goleak.VerifyNone(t)
	tensors, meta, err := safetensors.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[string][]int{}
	for _, tensor := range tensors {
		shapes[tensor.Name] = tensor.Shape
	}
	if w := shapes["fc.weight"]; len(tensors) != 2 || len(w) != 2 || w[0] != 3 || !slices.Equal(shapes["fc.bias"], []int{3}) || meta["classes"] != `["bar","bars","chevron"]` {
		t.Errorf("saved %v, %v", shapes, meta)
	}
}

func TestEvalLinearIsReadable(t *testing.T) {
	sure := &eval.LinearResult{
		Top1: eval.Share{Right: 15, Of: 20}, Top5: eval.Share{Right: 20, Of: 20}, Classes: []string{"cat", "dogs", "eel"},
		PerClass: []eval.Share{{Right: 9, Of: 10}, {Right: 6, Of: 10}, {}}, Images: 70, Rate: .1, Decay: 1e-4,
		HeldOut: eval.Share{Right: 7, Of: 14}, BestTop1: eval.Share{Right: 16, Of: 20}, BestEpoch: 7, BadTest: 2,
	}
	low := &eval.LinearResult{Top1: eval.Share{Right: 5, Of: 20}, Top5: eval.Share{Right: 20, Of: 20}}
	for name, c := range map[string]struct {
		scores linearScores
		want   []string
		never  []string
	}{
		"fast": {linearScores{fast: true, trained: sure, untrained: low, pixels: low}, []string{
			"70 training images, 20 test images, 3 classes (chance 33.3 %)",
			"rate 0.1 and weight decay 0.0001 chosen on 14 training images held out (50.0 % right)",
			"trained encoder    top-1  75.0 % [53.1, 88.8]   top-5 100.0 % [83.9, 100.0]\nuntrained encoder  top-1  25.0 %", "raw pixels",
			"hardest first\n  dogs  60.0 % [31.3, 83.2]  of 10\n  cat   90.0 %", "2 images could not be decoded",
		}, []string{"eel", "epoch"}},
		"paper": {linearScores{paper: eval.Paper(), trained: sure}, []string{
			"100 epochs, batch 256", "(epoch 7 was best, 80.0 %",
		}, []string{"untrained", "raw pixels", "held out"}},
	} {
		var out strings.Builder
		c.scores.print(&out)
		for _, text := range c.want {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: no %q in\n%s", name, text, out.String())
			}
		}
		for _, text := range c.never {
			if strings.Contains(out.String(), text) {
				t.Errorf("%s: %q in\n%s", name, text, out.String())
			}
		}
	}
}

func TestWrongEvalLinear(t *testing.T) {
	none := []string{"eval", "linear", "--checkpoint", "x", "--train", ".", "--test", "."}
	for name, c := range map[string]struct {
		args  []string
		texts []string
	}{
		"fast with a rate": {[]string{"--fast", "--lr", "3"}, []string{"--fast chooses by itself", "--lr"}},
		"rate":             {[]string{"--lr", "0"}, []string{"learning rate 0", "eval linear --help"}},
		"epochs":           {[]string{"--epochs", "0"}, []string{"0 epochs"}},
		"crop":             {[]string{"--crop-scale", "0.2"}, []string{"--crop-scale", "two numbers"}},
		"save":             {[]string{"--save", "nothing/here/x"}, []string{"--save nothing/here/x", "make it first"}},
		"bucket":           {[]string{"--train", "s3://"}, []string{"--train s3://", "s3://bucket/prefix"}},
		"missing folder":   {[]string{"--test", "nothing"}, []string{"--test", "nothing", "sub-folder a class"}},
		"statistics":       {[]string{"--bn", "none"}, []string{"--bn", "as-trained"}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, program(t, append(slices.Clone(none), c.args...)...), exitUsage, c.texts...)
		})
	}
	runDir, set := finished(t)
	dir := strings.TrimPrefix(set[0], "ingest.dir=")
	flat := t.TempDir()
	if err := os.CopyFS(flat, os.DirFS(filepath.Join(dir, "bar"))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		train, test string
		texts       []string
	}{
		"the same images": {dir, dir, []string{"32 test images are in the training set too, byte for byte", "take them out"}},
		"no classes":      {flat, dir, []string{"sub-folder"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"eval", "linear", "--fast", "--backend", "go", "--checkpoint", runDir, "--train", c.train, "--test", c.test}
			o := program(t, args...)
			o.err = messages(o.err)
			refused(t, o, exitFailed, c.texts...)
		})
	}
}

// Checkpoint and images may be in a bucket: the classes, and the figures, are those of the folders.
func TestEvalOfBuckets(t *testing.T) {
	server, url := bucketServer(t, s3server.Options{})
	t.Setenv("AWS_ACCESS_KEY_ID", bucketKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", bucketSecret)
	runDir, set := finished(t)
	known, asked := strings.TrimPrefix(set[0], "ingest.dir="), images(t, 18, 3)
	uploadFolder(t, server, "photos", "sets/train/", known)
	uploadFolder(t, server, "photos", "sets/train-more/", asked) // begins with the same letters
	uploadFolder(t, server, "photos", "sets/test/", asked)
	for name, flags := range map[string][]string{"knn": {"--k", "5"}, "linear": {"--fast"}} {
		evalOf := func(train, test string, more ...string) map[string]any {
			args := append([]string{"eval", name, "--backend", "go", "--json", "--checkpoint", runDir, "--train", train, "--test", test}, flags...)
			return program(t, append(args, more...)...).want(t, exitOK).object(t)
		}
		there := evalOf("s3://photos/sets/train", "s3://photos/sets/test/", "--s3-endpoint", url, "--s3-region", "us-east-1")
		here := evalOf(known, asked)
		if there["classes"] != 3.0 || !maps.EqualFunc(there, here, func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("%s of a bucket: %v\nof folders: %v", name, there, here)
		}
	}
}

// An export is judged as the checkpoint that it is of, but for the head that it has not.
func TestEvalOfExport(t *testing.T) {
	runDir, set := finished(t)
	known, asked := strings.TrimPrefix(set[0], "ingest.dir="), images(t, 18, 3)
	export := filepath.Join(t.TempDir(), "encoder")
	program(t, "export", "--checkpoint", runDir, "--out", export).want(t, exitOK)
	args := []string{"eval", "knn", "--backend", "go", "--k", "5", "--reference", known, "--query", asked, "--json", "--checkpoint"}
	of := program(t, append(args, runDir)...).want(t, exitOK).object(t)
	got := program(t, append(args, export)...).want(t, exitOK).object(t)
	if _, ok := got["head.top1"]; ok || got["top1"] != of["top1"] || got["top5"] != of["top5"] {
		t.Errorf("of the export %v, of its checkpoint %v", got, of)
	}
	refused(t, program(t, append(args, export, "--features", "head")...), exitUsage, "--features head", "has no head")
	refused(t, program(t, append(args, export, "--encoder", "k")...), exitFailed, "query encoder", "--encoder k")
	program(t, linearOf(t, export, known, "--epochs", "1", "--lr", "0.5")...).want(t, exitOK)
}

// messages leaves the lines about progress out.
func messages(err string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(err, "\n"), func(line string) bool { return strings.Contains(line, "\tINFO\t") }), "\n")
}
