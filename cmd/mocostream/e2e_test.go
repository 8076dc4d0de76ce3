package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/safetensors"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"go.uber.org/goleak"
)

// From the configuration that config init writes to a trained encoder, its report, features and export.
func TestFromInitToExport(t *testing.T) {
	dir, work := images(t, 48, 1), t.TempDir()
	path := filepath.Join(work, "run.yaml")
	program(t, "config", "init", path).want(t, exitOK)
	runDir := filepath.Join(work, "run")
	args := tiny(runDir, "ingest.dir="+dir, "train.steps=10", "eval.every=5", "sink.log_every=1ns",
		fmt.Sprintf("eval.probes=[{name: glyphs, reference: %q, query: %q}]", dir, images(t, 12, 2)))
	args[2] = path
	o := program(t, args...).want(t, exitOK)
	goleak.VerifyNone(t)
	for _, bad := range []string{"WARN", "ERROR"} {
		if strings.Contains(o.err, bad) {
			t.Errorf("a plain run says %s:\n%s", bad, o.err)
		}
	}
	got := o.object(t)
	for _, key := range []string{"steps", "samples", "epoch", "loss", "checkpoint", "images_per_second", "data_wait"} {
		if _, ok := got[key]; !ok {
			t.Errorf("train --json has no %s: %v", key, got)
		}
	}
	if strings.Count(o.out, "\n") != 1 || got["steps"] != 10.0 || got["samples"] != 80.0 || !(got["loss"].(float64) > 0) {
		t.Errorf("stdout:\n%s", o.out)
	}
	if n := strings.Count(o.err, "\ttraining\t"); n != 10 {
		t.Errorf("%d progress lines in ten steps with one after each:\n%s", n, o.err)
	}
	if n := strings.Count(o.err, "probe glyphs at step"); n != 2 {
		t.Errorf("%d evaluations, want those of steps 5 and 10:\n%s", n, o.err)
	}
	again := program(t, args...).want(t, exitOK).object(t) // nothing is left to do
	if again["steps"] != got["steps"] || again["loss"] != got["loss"] || again["checkpoint"] != got["checkpoint"] {
		t.Errorf("done already: printed %v, at first %v", again, got)
	}
	t.Run("report", func(t *testing.T) { checkReport(t, runDir) })
	t.Run("eval", func(t *testing.T) { checkEval(t, runDir, dir) })
	t.Run("embed", func(t *testing.T) { checkEmbed(t, runDir, dir) })
	t.Run("init_from", func(t *testing.T) { checkInitFrom(t, runDir, dir) })
}

// checkReport looks for what a browser would fetch.
func checkReport(t *testing.T, runDir string) {
	out := filepath.Join(t.TempDir(), "r.html")
	program(t, "report", runDir, "--out", out).want(t, exitOK)
	for _, path := range []string{out, filepath.Join(runDir, "report.html")} {
		page := string(read(t, path))
		if n := strings.Count(page, "data:image/png;base64,"); n < 2 {
			t.Errorf("%s has %d pictures, want preview and neighbours", path, n)
		}
		if !strings.Contains(page, "<svg") || !strings.Contains(page, "k-NN accuracy") {
			t.Errorf("%s lacks a curve or the probe", path)
		}
		for _, ref := range regexp.MustCompile(`(?i)(?:src|href|srcset|action|poster|data)\s*=\s*["']?([^"'\s>]+)|url\(([^)]+)\)|@import\s+(\S+)`).FindAllStringSubmatch(page, -1) {
			if to := ref[1] + ref[2] + ref[3]; !strings.HasPrefix(to, "data:") && !strings.HasPrefix(to, "#") {
				t.Errorf("%s refers to %s", path, to)
			}
		}
		for _, tag := range []string{"<script src", "<link", "<iframe"} {
			if strings.Contains(page, tag) {
				t.Errorf("%s holds %s", path, tag)
			}
		}
	}
}

func checkEval(t *testing.T, runDir, dir string) {
	query := images(t, 18, 3)
	o := program(t, "eval", "knn", "--checkpoint", runDir, "--reference", dir, "--query", query, "--backend", "go", "--k", "5", "--baseline", "--json")
	got := o.want(t, exitOK).object(t)
	for _, key := range []string{"top1", "top5", "head.top1", "baseline.untrained.top1", "baseline.pixels.top1"} {
		if v, ok := got[key].(float64); !ok || v < 0 || v > 1 {
			t.Errorf("%s is %v, want a share", key, got[key])
		}
	}
	if got["classes"] != 3.0 || got["queries"] != 18.0 {
		t.Errorf("printed %v", got)
	}
	goleak.VerifyNone(t)
}

// features are an embedding file's rows by key.
type features struct {
	labels map[string]int32
	x      map[string][]float32
}

func embed(t *testing.T, checkpoint, data string, more ...string) features {
	t.Helper()
	out := filepath.Join(t.TempDir(), "x.parquet")
	args := append([]string{"embed", "--backend", "go", "--checkpoint", checkpoint, "--data", data, "--out", out, "--json"}, more...)
	got := program(t, args...).want(t, exitOK).object(t)
	f := readParquet(t, out)
	if got["images"] != float64(len(f.x)) {
		t.Errorf("%d rows, printed %v", len(f.x), got)
	}
	return f
}

func readParquet(t *testing.T, path string) features {
	t.Helper()
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ar, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := ar.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	var names []string
	for _, field := range table.Schema().Fields() {
		names = append(names, field.Name)
	}
	if !slices.Equal(names, []string{"key", "label", "embedding"}) {
		t.Fatalf("columns %v", names)
	}
	list, ok := table.Schema().Field(2).Type.(*arrow.FixedSizeListType)
	if !ok || list.Elem().ID() != arrow.FLOAT32 || list.Len() != 32 { // width 4 x 8
		t.Fatalf("embedding is %v", table.Schema().Field(2).Type)
	}
	f := features{map[string]int32{}, map[string][]float32{}}
	rows := array.NewTableReader(table, 0)
	defer rows.Release()
	for rows.Next() {
		f.add(rows.Record())
	}
	return f
}

func (f features) add(rec arrow.Record) {
	keys, labels, lists := rec.Column(0).(*array.String), rec.Column(1).(*array.Int32), rec.Column(2).(*array.FixedSizeList)
	values := lists.ListValues().(*array.Float32)
	for i := range int(rec.NumRows()) {
		from, to := lists.ValueOffsets(i)
		f.labels[keys.Value(i)] = labels.Value(i)
		for j := from; j < to; j++ {
			f.x[keys.Value(i)] = append(f.x[keys.Value(i)], values.Value(int(j)))
		}
	}
}

func checkEmbed(t *testing.T, runDir, dir string) {
	f := embed(t, runDir, dir)
	if len(f.x) != 48 || f.labels["bar/000000.jpg"] != 0 || f.labels["chevron/000002.jpg"] != 2 || len(f.x["bars/000001.jpg"]) != 32 {
		t.Errorf("%d rows, labels %v", len(f.x), f.labels)
	}
	if reflect.DeepEqual(f.x["bar/000000.jpg"], f.x["bars/000001.jpg"]) {
		t.Error("two images have the same features")
	}
	if !reflect.DeepEqual(f, embed(t, filepath.Join(runDir, "step-000000010"), dir)) {
		t.Error("embedded twice, the same images have other features")
	}
	var files [][]byte
	for _, key := range slices.Sorted(maps.Keys(f.x)) {
		files = append(files, read(t, filepath.Join(dir, key)))
	}
	tarPath := filepath.Join(t.TempDir(), "a.tar")
	shard(t, tarPath, files)
	inShard := embed(t, runDir, tarPath)
	for i, key := range slices.Sorted(maps.Keys(f.x)) {
		if !slices.Equal(f.x[key], inShard.x[fmt.Sprintf("a-%03d", i)]) {
			t.Errorf("%s has other features from a shard, whose keys are %v", key, slices.Sorted(maps.Keys(inShard.x))[:1])
			break
		}
	}
	goleak.VerifyNone(t)
}

// checkInitFrom exports, starts new runs from the exports and stops them before their first step.
func checkInitFrom(t *testing.T, runDir, dir string) {
	want := embed(t, runDir, dir)
	for name, flags := range map[string][]string{"backbone": nil, "full": {"--full"}} {
		export := filepath.Join(t.TempDir(), "export")
		program(t, append([]string{"export", "--checkpoint", runDir, "--out", export}, flags...)...).want(t, exitOK)
		for _, file := range []string{"model.safetensors", "config.json"} {
			if len(read(t, filepath.Join(export, file))) == 0 {
				t.Errorf("%s: %s is empty", name, file)
			}
		}
		from := untouched(t, dir, export)
		if !reflect.DeepEqual(want, embed(t, from, dir)) {
			t.Errorf("%s: an encoder started from the export has other features", name)
		}
		if name == "full" {
			sameEncoders(t, filepath.Join(runDir, "step-000000010"), filepath.Join(from, "step-000000000"))
		}
	}
	sameEncoders(t, filepath.Join(runDir, "step-000000010"), filepath.Join(untouched(t, dir, runDir), "step-000000000"))
	goleak.VerifyNone(t)
}

// untouched is a run with weights from a folder, as stopped before its first step.
func untouched(t *testing.T, dir, from string, set ...string) (runDir string) {
	t.Helper()
	runDir = filepath.Join(t.TempDir(), "run")
	stop := make(chan struct{})
	close(stop)
	var out, log bytes.Buffer
	term := &terminal{out: &out, err: &log, ctx: t.Context(), stop: stop}
	_, parsed := parse(tiny(runDir, append(set, "ingest.dir="+dir, "train.init_from="+from, "train.seed=9")...), &out, &log)
	if err := parsed.Run(term); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if !strings.Contains(log.String(), "started from weights") {
		t.Errorf("the log does not say where the weights are from:\n%s", log.String())
	}
	return runDir
}

// sameEncoders wants both encoders of got to be want's query encoder, heads included.
func sameEncoders(t *testing.T, want, got string) {
	t.Helper()
	a, b := tensors(t, want), tensors(t, got)
	compared := 0
	for name, data := range a {
		rest, ok := strings.CutPrefix(name, "encoder_q.")
		if !ok || strings.HasSuffix(name, "num_batches_tracked") {
			continue
		}
		compared++
		for _, encoder := range []string{"encoder_q.", "encoder_k."} {
			if !bytes.Equal(data, b[encoder+rest]) {
				t.Errorf("%s%s differs from %s", encoder, rest, name)
			}
		}
	}
	if compared < 40 {
		t.Errorf("compared %d tensors", compared)
	}
}

func tensors(t *testing.T, stepDir string) map[string][]byte {
	t.Helper()
	all, _, err := safetensors.ReadFile(filepath.Join(stepDir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string][]byte{}
	for _, x := range all {
		m[x.Name] = x.Data
	}
	return m
}

func TestPreview(t *testing.T) {
	dir, out := hostileFolder(t), filepath.Join(t.TempDir(), "p.png")
	o := program(t, "preview", "--data", dir, "--set", "augment.size=16", "--images", "4", "--out", out).want(t, exitOK)
	if m, err := png.Decode(bytes.NewReader(read(t, out))); err != nil || m.Bounds().Dx() < 3*16 || m.Bounds().Dy() < 4*16 {
		t.Errorf("preview: %v", err)
	}
	if !strings.Contains(o.out, out) || o.err != "" {
		t.Errorf("stdout %q, stderr %q", o.out, o.err)
	}
	goleak.VerifyNone(t)
}

func TestJSONLog(t *testing.T) {
	args := tiny(filepath.Join(t.TempDir(), "run"), "ingest.dir="+images(t, 32, 1), "train.steps=3")
	o := program(t, append(args, "--log-format", "json")...).want(t, exitOK)
	progress := 0
	for line := range strings.Lines(o.err) {
		var entry struct{ Level, TS, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.TS == "" || entry.Msg == "" {
			t.Errorf("log line %q: %v", line, err)
		}
		if entry.Msg == "training" {
			progress++
		}
	}
	if progress < 1 || progress > 3 { // sink.log_every is 10 s: the first step and the last
		t.Errorf("%d progress lines:\n%s", progress, o.err)
	}
	goleak.VerifyNone(t)
}

func TestDemoConfig(t *testing.T) {
	d := wholeDemo(demoCommand{Out: "a demo's folder, with: a #"})
	c, err := d.config(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Ingest.Dir != d.folder("train") || c.Eval.Probes[0].Query != d.folder("query") || c.Train.Steps < 100 || d.images <= d.queries {
		t.Errorf("%+v", c)
	}
	if c.Train.K%c.Train.Batch != 0 || c.Train.K >= d.images {
		t.Errorf("a queue of %d for batches of %d and %d images", c.Train.K, c.Train.Batch, d.images)
	}
}

// The demo's whole path at a size that learns nothing.
func TestDemo(t *testing.T) {
	d := wholeDemo(demoCommand{Out: filepath.Join(t.TempDir(), "demo"), logFlags: logFlags{LogFormat: "json"}, JSON: true})
	d.images, d.queries = 60, 24
	d.set = append(d.set, "augment.size=16", "train.width=4", "train.dim=16", "train.k=16", "train.batch=8", "train.steps=6",
		"train.schedule.warmup_steps=2", "train.backend=go", "sink.checkpoint_every=3", "eval.every=3")
	var out, log bytes.Buffer
	if err := d.run(&terminal{out: &out, err: &log, ctx: t.Context()}); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	got := output{out: out.String()}.object(t)
	for _, key := range []string{"top1", "baseline.untrained.top1", "baseline.pixels.top1"} {
		if v, ok := got[key].(float64); !ok || v < 0 || v > 1 {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	if got["steps"] != 6.0 || got["stopped"] != false || !(got["seconds"].(float64) > 0) {
		t.Errorf("printed %v", got)
	}
	if _, err := os.Stat(filepath.Join(got["checkpoint"].(string), "state.json")); err != nil {
		t.Error(err)
	}
	page := string(read(t, got["report"].(string)))
	for _, text := range []string{"untrained encoder", "raw pixels", "twelve glyphs", "no evidence about natural photographs"} {
		if !strings.Contains(page, text) {
			t.Errorf("the report does not say %q", text)
		}
	}
	if n := strings.Count(page, "data:image/png;base64,"); n != 3 {
		t.Errorf("the report has %d pictures, want classes, preview and neighbours", n)
	}
	if strings.Contains(log.String(), `"level":"warn"`) {
		t.Errorf("the demo warns:\n%s", log.String())
	}
	program(t, "config", "print", "-c", filepath.Join(d.Out, "run.yaml")).want(t, exitOK)
	d.JSON = false // and said again, in words
	out.Reset()
	if err := d.run(&terminal{out: &out, err: &log, ctx: t.Context()}); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("trained encoder    %5.1f %%", 100*got["top1"].(float64)); !strings.Contains(out.String(), want) {
		t.Errorf("stdout does not say %q:\n%s", want, out.String())
	}
	goleak.VerifyNone(t)
}
