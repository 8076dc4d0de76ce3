package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
)

// Samples that are forgotten are in no file of the run any more, and the run goes on without them.
func TestForget(t *testing.T) {
	set := append(badFolder(t), "loader.replay.policy=random", "loader.replay.size=300")
	dir := filepath.Join(t.TempDir(), "run")
	program(t, tiny(dir, append(set, "train.steps=10")...)...).want(t, exitOK)
	step := filepath.Join(dir, "step-000000010")
	kept := keysOfBuffer(t, step)
	root, _ := folderOf(set)
	var gone []string
	for key := range kept {
		if filepath.Dir(key) == "bars" && len(gone) < 3 {
			gone = append(gone, key)
		}
	}
	gone = append(gone, "disc/bad1.jpg", "no such key")
	o := program(t, append([]string{"forget", "--run", dir, "--json"}, gone...)...).want(t, exitOK)
	got := o.object(t)
	if n := got["samples"].(float64); n < 3 || n > 8 || got["report"] != true { // some were admitted in two epochs
		t.Errorf("%v of %d samples", got, len(kept))
	}
	left := keysOfBuffer(t, step)
	for _, key := range gone {
		if left[key] {
			t.Errorf("%s is in the buffer", key)
		}
		if image, err := os.ReadFile(filepath.Join(root, key)); err == nil && holds(t, dir, image) {
			t.Errorf("the image of %s is in the run folder", key)
		}
	}
	for _, letter := range jsonLines(t, filepath.Join(dir, "dead-letters.jsonl")) {
		if letter["key"] == "disc/bad1.jpg" {
			t.Error("its dead letter is there")
		}
	}
	if others, err := filepath.Glob(filepath.Join(dir, "step-*")); err != nil || len(others) != 1 {
		t.Errorf("checkpoints: %v, %v", others, err)
	}
	program(t, append(tiny(dir, append(set, "train.steps=12")...), "--accept-change")...).want(t, exitOK, "going on from checkpoint")
}

// keysOfBuffer are the keys of the samples in a checkpoint's buffer.
func keysOfBuffer(t *testing.T, step string) map[string]bool {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(read(t, filepath.Join(step, loader.ReplayFile))))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	keys := map[string]bool{}
	for r.Next() {
		column := r.Record().Column(0).(*array.String)
		for i := range column.Len() {
			keys[column.Value(i)] = true
		}
	}
	delete(keys, "") // of draws
	return keys
}

// holds says whether a file of a folder holds the bytes.
func holds(t *testing.T, dir string, image []byte) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && bytes.Contains(read(t, path), image) {
			t.Logf("%s holds them", path)
			found = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestForgetWhatCannotBe(t *testing.T) {
	program(t, "forget", "--run", t.TempDir()).want(t, exitUsage, "no keys")
	program(t, "forget", "--run", filepath.Join(t.TempDir(), "none"), "key").want(t, exitUsage, "no such file")
	program(t, "forget", "--run", t.TempDir(), "--json", "key").want(t, exitOK)
}
