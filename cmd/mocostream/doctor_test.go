package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/train"
)

func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	o := program(t, "doctor", "--dir", filepath.Join(dir, "runs", "new"), "--json").want(t, exitOK)
	got := o.object(t)
	if got["ok"] != true || strings.Count(o.out, "\n") != 1 {
		t.Errorf("printed %s", o.out)
	}
	levels := map[string]string{}
	for _, c := range got["checks"].([]any) {
		f := c.(map[string]any)
		levels[f["check"].(string)] = f["level"].(string)
		if f["text"] == "" || f["level"] != "ok" && f["remedy"] == nil {
			t.Errorf("a finding without text or remedy: %v", f)
		}
	}
	for _, check := range []string{"program", "processors", "simd", "backend", "compute", "jpeg", "disk", "space", "memory"} {
		if levels[check] == "" {
			t.Errorf("nothing about %s", check)
		}
	}
	if levels["compute"] != "ok" || levels["disk"] != "ok" {
		t.Errorf("levels %v", levels)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("doctor left %v, %v", left, err)
	}
}

func TestDoctorFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, nil)
	o := program(t, "doctor", "--dir", file).want(t, exitFailed, "1 of 8 checks failed")
	if !strings.Contains(o.out, "\nFAIL  disk       write into "+file) || !strings.Contains(o.out, "choose another sink.dir") {
		t.Errorf("printed:\n%s", o.out)
	}
}

func TestDoctorDumpHLO(t *testing.T) {
	file := filepath.Join(t.TempDir(), "step.mlir")
	program(t, "doctor", "--dump-hlo", file, "--set", "train.backend=go", "--set", "train.width=4").
		want(t, exitFailed, "backend go:parallelism=-1 compiles no StableHLO", "doctor --install")
	program(t, "doctor", "--set", "train.width=4").want(t, exitUsage, "--dump-hlo")
	program(t, "doctor", "--dump-hlo", file, "--set", "train.width=none").want(t, exitUsage, "train.width")
}

func TestDoctorInstall(t *testing.T) {
	f, err := install(t.Context(), func() error { return errors.New("install XLA plugin cpu: no network") })
	if err != nil || f.Level != broken || !strings.Contains(f.Text, "no network") || f.Remedy == "" {
		t.Errorf("%+v, %v", f, err)
	}
	var out bytes.Buffer
	if err := (doctorCommand{}).report(&out, []finding{f}); err == nil || !strings.HasPrefix(out.String(), "FAIL  install") {
		t.Errorf("error %v, printed %q", err, out.String())
	}
	if f, err = install(t.Context(), func() error { return nil }); err != nil || f.Level != fine {
		t.Errorf("%+v, %v", f, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hang := make(chan struct{})
	defer close(hang)
	if _, err = install(ctx, func() error { <-hang; return nil }); err == nil {
		t.Error("an installation that hangs cannot be stopped")
	}
}

func TestDescribeBackend(t *testing.T) {
	tried := []string{"xla:cuda: No visible GPU devices", "xla:cpu: no plugins found"}
	for name, c := range map[string]struct {
		backend *train.Backend
		nvidia  bool
		level   level
		remedy  string
	}{
		"cuda":                    {&train.Backend{Config: "xla:cuda"}, true, fine, ""},
		"cpu, no GPU":             {&train.Backend{Config: "xla:cpu"}, false, fine, ""},
		"go":                      {&train.Backend{Config: "go:parallelism=-1", Tried: tried}, false, better, "doctor --install"},
		"go in spite of a GPU":    {&train.Backend{Config: "go:parallelism=-1", Tried: tried}, true, better, "CUDA"},
		"XLA's CPU despite a GPU": {&train.Backend{Config: "xla:cpu", Tried: tried[:1]}, true, better, "CUDA"},
	} {
		if !train.BuiltWithXLA() && c.level == better {
			c.remedy = "C compiler"
		}
		f := describeBackend(c.backend, c.nvidia)
		if f.Level != c.level || !strings.Contains(f.Remedy, c.remedy) || (c.level == fine) != (f.Remedy == "") {
			t.Errorf("%s: %+v", name, f)
		}
		if says := strings.Contains(f.Text, tried[0]); says != (c.level == better) {
			t.Errorf("%s: %q", name, f.Text)
		}
	}
}

func TestControlLimit(t *testing.T) {
	const v2, v1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"none":         {nil, 0},
		"version 2":    {map[string]string{"proc/self/cgroup": "0::/a/b\n", v2 + "/a/b/memory.max": "5000\n"}, 5000},
		"no limit":     {map[string]string{"proc/self/cgroup": "0::/a/b\n", v2 + "/a/b/memory.max": "max\n"}, 0},
		"parent's":     {map[string]string{"proc/self/cgroup": "0::/a/b\n", v2 + "/a/b/memory.max": "5000\n", v2 + "/a/memory.max": "4000\n"}, 4000},
		"in container": {map[string]string{"proc/self/cgroup": "0::/\n", v2 + "/memory.max": "3000\n"}, 3000},
		"version 1": {map[string]string{"proc/self/cgroup": "5:cpu:/x\n4:memory:/y\n", v1 + "/y/memory.limit_in_bytes": "2000\n",
			v1 + "/memory.limit_in_bytes": "9223372036854771712\n"}, 2000},
		"damaged": {map[string]string{"proc/self/cgroup": "memory\n0::/a\n", v2 + "/a/memory.max": "lots"}, 0},
	} {
		root := t.TempDir()
		for path, text := range c.files {
			write(t, filepath.Join(root, path), []byte(text))
		}
		if got := controlLimit(root); got != c.want {
			t.Errorf("%s: limit %d, want %d", name, got, c.want)
		}
	}
}

func TestCheckMemory(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "proc/meminfo"), []byte("MemTotal:       16777216 kB\nMemAvailable:   12582912 kB\n"))
	if f := checkMemory(root); f.Level != fine || !strings.HasPrefix(f.Text, "16.0 GiB, 12.0 GiB available; loader") {
		t.Errorf("%+v", f)
	}
	write(t, filepath.Join(root, "proc/self/cgroup"), []byte("0::/\n"))
	write(t, filepath.Join(root, "sys/fs/cgroup/memory.max"), []byte("1073741824\n"))
	if f := checkMemory(root); f.Level != better || !strings.Contains(f.Text, "may use 1.0 GiB") || !strings.Contains(f.Remedy, "loader.memory_limit=256MiB") {
		t.Errorf("%+v", f)
	}
	if f := checkMemory(t.TempDir()); f.Level != fine || !strings.Contains(f.Text, "not known") {
		t.Errorf("%+v", f)
	}
}
