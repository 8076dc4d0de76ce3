package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/sink"
)

// finished is a run of ten steps on 32 images, with checkpoints of steps 5 and 10.
func finished(t *testing.T) (runDir string, set []string) {
	t.Helper()
	set = []string{"ingest.dir=" + images(t, 32, 1), "train.steps=10"}
	runDir = filepath.Join(t.TempDir(), "run")
	program(t, tiny(runDir, set...)...).want(t, exitOK)
	return runDir, set
}

// copied is a run folder like dir.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "run")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// refused wants an exit code with one message that holds every text, and nothing that only a programmer can read.
func refused(t *testing.T, o output, code int, texts ...string) {
	t.Helper()
	o.want(t, code, texts...)
	if n := strings.Count(o.err, "mocostream: "); n != 1 {
		t.Errorf("%d messages, want one:\n%s", n, o.err)
	}
	for _, never := range []string{"panic", "goroutine", "%!", "<nil>", "context canceled"} {
		if strings.Contains(o.err, never) {
			t.Errorf("stderr says %q:\n%s", never, o.err)
		}
	}
	if o.out != "" {
		t.Errorf("stdout says %q", o.out)
	}
}

func TestWrongCommandLine(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		texts []string
	}{
		"no command":            {nil, []string{"no command", "Usage: mocostream <command>"}},
		"unknown command":       {[]string{"trian"}, []string{"unexpected argument trian"}},
		"unknown flag":          {[]string{"train", "-c", os.DevNull, "--jsno"}, []string{"unknown flag --jsno"}},
		"no configuration":      {[]string{"train"}, []string{"missing flags: --config=FILE"}},
		"missing configuration": {[]string{"train", "-c", "nothing.yaml"}, []string{"nothing.yaml", "mocostream config init"}},
		"preview of nothing":    {[]string{"preview"}, []string{"--data", "ingest.dir"}},
		"no neighbours": {[]string{"eval", "knn", "--checkpoint", "x", "--reference", ".", "--query", ".", "--k", "0"},
			[]string{"--k must be at least 1"}},
		"features": {[]string{"eval", "knn", "--checkpoint", "x", "--reference", ".", "--query", ".", "--features", "neck"},
			[]string{"--features neck", "backbone, head"}},
		"missing reference": {[]string{"eval", "knn", "--checkpoint", "x", "--reference", "nothing", "--query", "."},
			[]string{"--reference", "nothing"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, program(t, c.args...), exitUsage, c.texts...) })
	}
}

func TestHelpIsNoMistake(t *testing.T) {
	o := program(t, "train", "--help").want(t, exitOK)
	if !strings.Contains(o.out, "SIGTERM") || o.err != "" {
		t.Errorf("stdout %q, stderr %q", o.out, o.err)
	}
}

func TestWrongFile(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		texts []string
	}{
		"unknown key":   {"ingest: {dir: x}\ntrain:\n  bacth: 8\n", []string{"run.yaml:3", "bacth", "did you mean train.batch?"}},
		"wrong type":    {"ingest: {dir: x}\ntrain:\n  batch: many\n", []string{"run.yaml:3", "train.batch", "many"}},
		"no source":     {"train: {batch: 8}\n", []string{"ingest.dir", "is not set", "ingest.shards"}},
		"two sources":   {"ingest: {dir: x, shards: y}\n", []string{"run.yaml:1", "a run reads one source"}},
		"K below batch": {"ingest: {dir: x}\ntrain: {batch: 64, k: 32}\n", []string{"run.yaml:2", "train.k", "32 is smaller than the batch (64)"}},
		"all at once":   {"ingest: {dri: x}\ntrain: {arch: resnet99}\n", []string{"run.yaml:1", "did you mean ingest.dir?", "run.yaml:2", "resnet99"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run.yaml")
			write(t, path, []byte(c.text))
			refused(t, program(t, "train", "-c", path), exitUsage, c.texts...)
		})
	}
}

// A run that cannot start says why.
func TestWrongRun(t *testing.T) {
	dir, empty, plain := images(t, 32, 1), t.TempDir(), t.TempDir()
	write(t, filepath.Join(plain, "one.jpg"), read(t, filepath.Join(dir, "bar", "000000.jpg")))
	for name, c := range map[string]struct {
		set   []string
		code  int
		texts []string
	}{
		"unknown key":   {[]string{"ingest.dir=" + dir, "train.bacth=8"}, exitUsage, []string{"--set", "train.bacth", "did you mean"}},
		"missing value": {[]string{"ingest.dir"}, exitUsage, []string{"--set", "ingest.dir"}},
		"missing folder": {[]string{"ingest.dir=" + dir + "/nothing"}, exitFailed,
			[]string{dir + "/nothing", "no such file", "set ingest.dir"}},
		"empty folder":   {[]string{"ingest.dir=" + empty}, exitFailed, []string{empty, "no JPEG, PNG or WebP file", "set ingest.dir"}},
		"missing shards": {[]string{"ingest.shards=" + empty + "/*.tar"}, exitFailed, []string{empty + "/*.tar", "ingest.shards"}},
		"batch above set": {[]string{"ingest.dir=" + dir, "train.batch=33", "train.bn_groups=1", "train.k=66"}, exitUsage,
			[]string{"32 images", "train.batch is 33", "lower train.batch"}},
		"K below batch": {[]string{"ingest.dir=" + dir, "train.k=4"}, exitUsage, []string{"train.k", "4 is smaller than the batch (8)"}},
		"K below a batch chosen": {[]string{"ingest.dir=" + dir, "train.batch=auto", "train.bn_groups=auto", "train.k=4"}, exitUsage,
			[]string{"4", "batch"}},
		"groups": {[]string{"ingest.dir=" + dir, "train.bn_groups=3"}, exitUsage, []string{"train.bn_groups", "3 does not divide the batch (8)"}},
		"missing weights": {[]string{"ingest.dir=" + dir, "train.init_from=" + empty + "/model.safetensors"}, exitFailed,
			[]string{"train.init_from", empty + "/model.safetensors", "no such file"}},
		"missing probe": {[]string{"ingest.dir=" + dir, "eval.probes=[{name: a, reference: " + dir + ", query: " + empty + "/no}]"}, exitUsage,
			[]string{"eval.probes[0].query", empty + "/no"}},
		"no backend":       {[]string{"ingest.dir=" + dir, "train.backend=abacus"}, exitFailed, []string{"abacus"}},
		"run folder taken": {[]string{"ingest.dir=" + dir, "sink.dir=" + plain + "/one.jpg"}, exitFailed, []string{plain + "/one.jpg"}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, program(t, tiny(filepath.Join(t.TempDir(), "run"), c.set...)...), c.code, c.texts...)
		})
	}
}

// A run folder that holds something else, or is in use, stays as it is.
func TestWrongRunFolder(t *testing.T) {
	runDir, set := finished(t)
	before := read(t, filepath.Join(runDir, "metrics.jsonl"))
	refused(t, program(t, tiny(runDir, append(set, "train.arch=resnet18")...)...), exitUsage,
		"step-000000010 holds another run", "train.arch: resnet18, was resnet10", "choose another sink.dir")
	refused(t, program(t, append(tiny(runDir, append(set, "train.arch=resnet18")...), "--accept-change")...), exitUsage,
		"train.arch: resnet18, was resnet10")
	longer := tiny(runDir, set[0], "train.steps=12")
	refused(t, program(t, longer...), exitUsage, "train.steps: 12, was 10", "--accept-change")
	store, err := sink.OpenStore(runDir, sink.Options{})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, program(t, tiny(runDir, set...)...), exitFailed, runDir, "another run is writing to it", "another sink.dir")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, read(t, filepath.Join(runDir, "metrics.jsonl"))) {
		t.Error("a refused run changed the metrics")
	}
	o := program(t, append(longer, "--accept-change")...).want(t, exitOK, "changed since the checkpoint", "train.steps")
	if got := o.object(t); got["steps"] != 12.0 {
		t.Errorf("printed %v", got)
	}
}

func TestSourceThatChanged(t *testing.T) {
	runDir, set := finished(t)
	victim := filepath.Join(strings.TrimPrefix(set[0], "ingest.dir="), "bar", "000000.jpg")
	if err := os.Remove(victim); err != nil {
		t.Fatal(err)
	}
	refused(t, program(t, append(tiny(runDir, set[0], "train.steps=20"), "--accept-change")...), exitFailed,
		victim, "it is gone", "bring the file back, or start a new run")
}

func TestTornCheckpoints(t *testing.T) {
	runDir, set := finished(t)
	torn := copied(t, runDir)
	if err := os.Truncate(filepath.Join(torn, "step-000000010", "model.safetensors"), 1000); err != nil {
		t.Fatal(err)
	}
	program(t, tiny(torn, set...)...).want(t, exitOK, "step-000000010 is passed over", "model.safetensors", "torn or corrupted",
		"going on from checkpoint", "step-000000005")
	for _, name := range []string{"step-000000010/model.safetensors", "step-000000010/optimizer.safetensors", "step-000000010/state.json"} {
		if !bytes.Equal(read(t, filepath.Join(runDir, name)), read(t, filepath.Join(torn, name))) {
			t.Errorf("%s differs from the one that was torn", name)
		}
	}
	if n := len(history(t, torn)); n != 10 {
		t.Errorf("%d lines of metrics", n)
	}

	write(t, filepath.Join(torn, "step-000000005", "state.json"), []byte("{}"))
	if err := os.Remove(filepath.Join(torn, "step-000000010", "optimizer.safetensors")); err != nil {
		t.Fatal(err)
	}
	refused(t, program(t, tiny(torn, set...)...), exitFailed, "all 2 checkpoints in "+torn, "state.json", "optimizer.safetensors",
		"move these folders away to start over")
	o := program(t, "export", "--checkpoint", torn, "--out", t.TempDir())
	o.want(t, exitFailed, "all 2 checkpoints in "+torn)
	if n := len(history(t, torn)); n != 10 {
		t.Errorf("a refused run left %d lines of metrics", n)
	}
}

// A file-size limit stands for the full disk: writes fail half-way, renaming and reading go on.
func TestDiskFull(t *testing.T) {
	runDir, set := finished(t)
	whole := copied(t, runDir)
	longer := func(dir string) []string { return append(tiny(dir, set[0], "train.steps=20"), "--accept-change") }
	p := start(t, []string{fileSizeEnv + "=100000"}, longer(runDir)...) // a model has more
	refused(t, p.wait(t), exitFailed, filepath.Join(runDir, "step-000000015"), "model.safetensors", "file too large")
	for _, name := range []string{"step-000000005", "step-000000010"} {
		if _, err := sink.Read(filepath.Join(runDir, name)); err != nil {
			t.Errorf("an older checkpoint is lost: %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(runDir, "*.tmp")); len(left) > 0 {
		t.Errorf("%v fill the disk further", left)
	}
	program(t, longer(runDir)...).want(t, exitOK, "step-000000010")
	program(t, longer(whole)...).want(t, exitOK)
	for _, name := range []string{"step-000000020/model.safetensors", "step-000000020/state.json"} {
		if !bytes.Equal(read(t, filepath.Join(runDir, name)), read(t, filepath.Join(whole, name))) {
			t.Errorf("%s differs from that of a run with room", name)
		}
	}
	if a, b := history(t, whole), history(t, runDir); len(a) != 20 || len(b) != 20 {
		t.Errorf("%d and %d lines of metrics, want 20", len(a), len(b))
	}
}

func TestWrongEncoder(t *testing.T) {
	runDir, set := finished(t)
	dir, nothing := strings.TrimPrefix(set[0], "ingest.dir="), filepath.Join(t.TempDir(), "nothing")
	flat := t.TempDir()
	write(t, filepath.Join(flat, "one.jpg"), read(t, filepath.Join(dir, "bar", "000000.jpg")))
	knn := []string{"eval", "knn", "--backend", "go", "--k", "3"}
	for name, c := range map[string]struct {
		args  []string
		texts []string
	}{
		"eval on nothing":   {append(knn, "--checkpoint", nothing, "--reference", dir, "--query", dir), []string{nothing, "no such file"}},
		"embed of nothing":  {[]string{"embed", "--checkpoint", nothing, "--data", dir, "--out", nothing}, []string{nothing, "no such file"}},
		"export of nothing": {[]string{"export", "--checkpoint", nothing, "--out", nothing}, []string{nothing, "no such file"}},
		"eval on no run":    {append(knn, "--checkpoint", dir, "--reference", dir, "--query", dir), []string{dir, "checkpoint"}},
		"queries in the reference": {append(knn, "--checkpoint", runDir, "--reference", dir, "--query", dir),
			[]string{"32 query images are in the reference too, byte for byte", "take them out"}},
		"no classes": {append(knn, "--checkpoint", runDir, "--reference", flat, "--query", flat), []string{"sub-folder"}},
		"embed nowhere": {[]string{"embed", "--backend", "go", "--checkpoint", runDir, "--data", dir, "--out", nothing + "/x.parquet"},
			[]string{nothing}},
		"embed no images": {[]string{"embed", "--backend", "go", "--checkpoint", runDir, "--data", nothing, "--out", flat + "/x.parquet"},
			[]string{nothing, "no such file"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, program(t, slices.Clone(c.args)...), exitFailed, c.texts...) })
	}
	other := filepath.Join(t.TempDir(), "other")
	refused(t, program(t, tiny(other, append(set, "train.width=8", "train.init_from="+runDir+"/step-000000010")...)...), exitFailed,
		"train.init_from", "has shape", "width")
	refused(t, program(t, "report", t.TempDir()), exitFailed, "checkpoint")
}
