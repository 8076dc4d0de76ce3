package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/config"
)

func TestConfigInit(t *testing.T) {
	o := program(t, "config", "init").want(t, exitOK)
	if o.out != config.Init() || o.err != "" {
		t.Errorf("stdout %q, stderr %q", o.out, o.err)
	}
	path := filepath.Join(t.TempDir(), "run.yaml")
	program(t, "config", "init", path).want(t, exitOK)
	if got := string(read(t, path)); got != config.Init() {
		t.Errorf("%s holds %q", path, got)
	}
	write(t, path, []byte("mine"))
	refused(t, program(t, "config", "init", path), exitUsage, path, "choose another name")
	if got := string(read(t, path)); got != "mine" {
		t.Errorf("the file was overwritten with %q", got)
	}
	refused(t, program(t, "config", "init", filepath.Join(path, "below")), exitFailed, path)
}

func TestConfigPrint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.yaml")
	write(t, path, []byte("train: {batch: 64}\n"))
	o := program(t, "config", "print", "-c", path, "--set", "train.epochs=7").want(t, exitOK)
	c, err := config.Parse("printed", []byte(o.out), nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, o.out)
	}
	if c.Train.Batch != 64 || c.Train.Epochs != 7 || c.Train.Arch != config.Default().Train.Arch {
		t.Errorf("printed batch %d, epochs %d, arch %s", c.Train.Batch, c.Train.Epochs, c.Train.Arch)
	}
	refused(t, program(t, "config", "print", "-c", path, "--set", "train.bacth=8"), exitUsage, "did you mean train.batch?")
	refused(t, program(t, "config", "print"), exitUsage, "--config=FILE")
	refused(t, program(t, "config", "print", "-c", path+".no"), exitUsage, path+".no")
}

func TestConfigReference(t *testing.T) {
	if o := program(t, "config", "reference").want(t, exitOK); o.out != config.Reference() {
		t.Errorf("printed %q", o.out)
	}
	if o := program(t, "config", "--help").want(t, exitOK); strings.Contains(o.out, "reference") {
		t.Errorf("a hidden command is in the help:\n%s", o.out)
	}
}

func TestVersion(t *testing.T) {
	o := program(t, "version").want(t, exitOK)
	if !strings.HasPrefix(o.out, "mocostream "+version+"\n") || !strings.Contains(o.out, "GOEXPERIMENT=simd") {
		t.Errorf("printed %q", o.out)
	}
	got := program(t, "version", "--json").want(t, exitOK).object(t)
	for _, key := range []string{"version", "go", "platform", "jpeg", "gomlx", "compute", "go_xla", "arrow"} {
		if text, _ := got[key].(string); text == "" {
			t.Errorf("no %s in %v", key, got)
		}
	}
	if got["simd"] != builtWithSIMD() {
		t.Errorf("simd: %v", got["simd"])
	}
}

func TestModuleVersion(t *testing.T) {
	if got := moduleVersion("example.org/not/there"); got != "unknown" {
		t.Errorf("a module that is not there has version %q", got)
	}
}

func TestSynth(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	small := []string{"synth", "--classes", "3", "--images", "6", "--size", "32"}
	o := program(t, append(small, "--out", dir)...).want(t, exitOK)
	if !strings.Contains(o.out, dir) || !strings.Contains(o.out, "6 images of 3 classes, 32 px, seed 0") {
		t.Errorf("printed %q", o.out)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*", "*.jpg")); len(files) != 6 {
		t.Errorf("wrote %v", files)
	}
	tar := dir + ".tar"
	got := program(t, append(small, "--out", tar, "--seed", "18446744073709551615", "--json")...).want(t, exitOK).object(t)
	if got["out"] != tar || got["images"] != 6.0 || got["classes"] != 3.0 || got["size"] != 32.0 {
		t.Errorf("printed %v", got)
	}
	if info, err := os.Stat(tar); err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		t.Errorf("%s: %v, %v", tar, info, err)
	}
	program(t, append(small, "--out", dir)...).want(t, exitOK) // it is there already
	refused(t, program(t, append(small, "--out", dir, "--seed", "1")...), exitFailed, dir, "seed 1", "choose another folder")
	refused(t, program(t, append(small, "--out", tar+".gz")...), exitUsage, "name it .tar")
	refused(t, program(t, "synth", "--out", dir, "--classes", "13"), exitUsage, "13")
	refused(t, program(t, "synth"), exitUsage, "--out")
}
