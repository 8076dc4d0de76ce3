package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// has wants numbers above 0 under every key.
func has(t *testing.T, m map[string]any, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if v, ok := m[key].(float64); !ok || v <= 0 {
			t.Errorf("%s is %v", key, m[key])
		}
	}
}

func TestBenchLoader(t *testing.T) {
	dir := images(t, 12, 1)
	write(t, filepath.Join(dir, "bar", "broken.jpg"), []byte("\xFF\xD8\xFFbroken"))
	got := program(t, "bench", "loader", "--data", dir, "--seconds", "0.2", "--size", "16", "--batch", "4", "--workers", "3", "--json").
		want(t, exitOK).object(t)
	has(t, got, "images_per_second", "images_per_cpu_second", "images", "seconds", "processors_used")
	if got["workers"] != 3.0 || got["bad_images"] != 1.0 || got["bottleneck"] == "" {
		t.Errorf("workers %v, bad_images %v, bottleneck %q", got["workers"], got["bad_images"], got["bottleneck"])
	}
	stages := got["stages"].(map[string]any)
	has(t, stages["augment"].(map[string]any), "busy")
	has(t, stages["batch"].(map[string]any), "size", "per_second", "wait_input")
	has(t, stages["order"].(map[string]any), "workers")
	has(t, stages["fetch"].(map[string]any), "bytes_per_second")
	for name, stage := range stages {
		for key, v := range stage.(map[string]any) {
			share := key == "busy" || strings.HasPrefix(key, "wait_")
			if x, _ := v.(float64); share && (x < 0 || x > 1.01) {
				t.Errorf("%s of %s is %v, no share", key, name, x)
			}
		}
	}
}

func TestBenchLoaderReadsShards(t *testing.T) {
	tar := filepath.Join(t.TempDir(), "set.tar")
	program(t, "synth", "--out", tar, "--images", "12", "--size", "32").want(t, exitOK)
	o := program(t, "bench", "loader", "--data", tar, "--seconds", "0.1", "--size", "16", "--batch", "4", "--recipe", "v1").want(t, exitOK)
	if !strings.Contains(o.out, "images/s") || strings.Contains(o.out, "bad images") {
		t.Errorf("printed %q", o.out)
	}
}

func TestBenchDecode(t *testing.T) {
	dir := images(t, 12, 1)
	write(t, filepath.Join(dir, "bar", "broken.jpg"), []byte("\xFF\xD8\xFFbroken"))
	got := program(t, "bench", "decode", "--data", dir, "--seconds", "0.1", "--workers", "2", "--json").want(t, exitOK).object(t)
	has(t, got, "images_per_second", "images_per_cpu_second", "images", "seconds")
	if got["workers"] != 2.0 || got["bad_images"] != 1.0 || !strings.HasPrefix(got["bottleneck"].(string), "decoding") {
		t.Errorf("printed %v", got)
	}
	has(t, got["stages"].(map[string]any)["decode"].(map[string]any), "busy", "images_held")
}

func TestBenchStep(t *testing.T) {
	got := program(t, "bench", "step", "--arch", "resnet10", "--width", "4", "--size", "16", "--batch", "8", "--k", "16",
		"--bn-groups", "2", "--steps", "3", "--backend", "go", "--json").want(t, exitOK).object(t)
	has(t, got, "images_per_second", "ms_per_step", "peak_rss_bytes", "bytes_allocated_per_step", "compile_seconds")
	if got["backend"] != "go:parallelism=-1" || got["precision"] != "f32" || got["steps"] != 3.0 {
		t.Errorf("printed %v", got)
	}
	if rate, ms := got["images_per_second"].(float64), got["ms_per_step"].(float64); rate*ms < 7999 || rate*ms > 8001 {
		t.Errorf("%v images/s in steps of 8 images in %v ms", rate, ms)
	}
}

func TestBenchFeed(t *testing.T) {
	o := program(t, "bench", "feed", "--data", images(t, 12, 1), "--workers", "2,1", "--arch", "resnet10", "--width", "4", "--size", "16",
		"--batch", "8", "--k", "16", "--bn-groups", "2", "--steps", "3", "--backend", "go", "--json").want(t, exitOK)
	var all []map[string]any
	if err := json.Unmarshal([]byte(o.out), &all); err != nil || len(all) != 2 {
		t.Fatalf("%d results (%v) in %s", len(all), err, o.out)
	}
	for i, got := range all {
		if wait := got["data_wait"].(float64); got["workers"] != float64(2-i) || wait < 0 || wait > 1 || got["images_per_second"].(float64) <= 0 {
			t.Errorf("printed %v", got)
		}
	}
}

func TestBenchRefuses(t *testing.T) {
	dir, bad := images(t, 3, 1), t.TempDir()
	write(t, filepath.Join(bad, "broken.jpg"), []byte("\xFF\xD8\xFFbroken"))
	for name, c := range map[string]struct {
		args  []string
		code  int
		texts []string
	}{
		"no data":          {[]string{"loader"}, exitUsage, []string{"--data"}},
		"no seconds":       {[]string{"loader", "--data", dir, "--seconds", "0"}, exitUsage, []string{"--seconds 0"}},
		"no size":          {[]string{"loader", "--data", dir, "--size", "0"}, exitUsage, []string{"augment.size"}},
		"no such recipe":   {[]string{"loader", "--data", dir, "--recipe", "v3"}, exitUsage, []string{"--recipe"}},
		"nothing to load":  {[]string{"loader", "--data", t.TempDir()}, exitFailed, []string{"no JPEG, PNG or WebP file"}},
		"bad images alone": {[]string{"loader", "--data", bad, "--seconds", "0.1"}, exitFailed, []string{"none of ", "can be decoded"}},
		"bad to decode":    {[]string{"decode", "--data", bad, "--seconds", "0.1"}, exitFailed, []string{"none of 1 images can be decoded"}},
		"decode no time":   {[]string{"decode", "--data", dir, "--seconds", "NaN"}, exitUsage, []string{"--seconds"}},
		"workers":          {[]string{"decode", "--data", dir, "--workers", "-1"}, exitUsage, []string{"--workers"}},
		"precision":        {[]string{"step", "--backend", "go", "--precision", "bf16"}, exitUsage, []string{"train.precision", "bf16"}},
		"arch":             {[]string{"step", "--arch", "vgg"}, exitUsage, []string{"train.arch", "vgg"}},
		"short queue":      {[]string{"step", "--k", "8"}, exitUsage, []string{"train.k"}},
		"no steps":         {[]string{"step", "--steps", "0"}, exitUsage, []string{"--steps 0"}},
		"no backend":       {[]string{"step", "--backend", "abacus"}, exitFailed, []string{"abacus"}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, program(t, append([]string{"bench"}, c.args...)...), c.code, c.texts...)
		})
	}
}

func TestSharedProcessorsAreNamed(t *testing.T) {
	if got := (&throughput{Workers: 1, Processors: 0.4}).busy("decoding", 0.95); !strings.Contains(got, "got 0.4 of 1") {
		t.Errorf("%q", got)
	}
	if got := (&throughput{Workers: 1, Processors: 0.9}).busy("decoding", 0.95); strings.Contains(got, "other programs") {
		t.Errorf("%q", got)
	}
}

func TestStepTimes(t *testing.T) {
	f := stepFigures{Batch: 10}
	f.times([]time.Duration{40 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond, 20 * time.Millisecond})
	if f.MsPerStep != 25 || f.MsMin != 10 || f.MsMax != 40 || f.ImagesPerSecond != 400 {
		t.Errorf("%+v", f)
	}
}

func TestProcField(t *testing.T) {
	text := "VmPeak:\t  9 kB\nVmHWM:\t   1234 kB\nName: x\n"
	if n, ok := procField(text, "VmHWM"); !ok || n != 1234 {
		t.Errorf("VmHWM is %d, %v", n, ok)
	}
	for _, name := range []string{"Name", "VmRSS"} {
		if n, ok := procField(text, name); ok {
			t.Errorf("%s is %d", name, n)
		}
	}
}
