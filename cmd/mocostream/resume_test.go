package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"
)

// Runs of 40 steps, killed or stopped on the way and gone on, leave the bits of the run that nobody disturbed: weights,
// optimizer, state, the history of the steps and the dead letters.
func TestResume(t *testing.T) {
	for name, source := range map[string]func(*testing.T) []string{"folder": badFolder, "shards": badShards, "memory bank": memoryBank} {
		t.Run(name, func(t *testing.T) {
			set := source(t)
			whole := filepath.Join(t.TempDir(), "whole")
			program(t, tiny(whole, set...)...).want(t, exitOK)
			checkHistory(t, whole)
			t.Run("killed after step 17", func(t *testing.T) { killedOnce(t, whole, set) })
			if name == "folder" {
				t.Run("killed at random moments", func(t *testing.T) { killedOften(t, whole, set) })
				t.Run("stopped by SIGTERM", func(t *testing.T) { stopped(t, whole, set) })
			}
		})
	}
}

// badFiles are few enough for the run to go on.
func badFiles(t *testing.T, good []byte) [][]byte {
	t.Helper()
	return [][]byte{nil, []byte("no image at all"), good[:len(good)/2]}
}

// badFolder is a folder of 90 images and 3 bad ones: 40 steps of 8 cross three ends of an epoch.
func badFolder(t *testing.T) []string {
	dir := images(t, 90, 1)
	for i, data := range badFiles(t, read(t, filepath.Join(dir, "bars", "000001.jpg"))) {
		write(t, filepath.Join(dir, "disc", fmt.Sprintf("bad%d.jpg", i)), data)
	}
	return []string{"ingest.dir=" + dir, "loader.max_bad_fraction=0.2"}
}

// badShards are the same images in five shards, mixed two shards at a time through a small buffer.
func badShards(t *testing.T) []string {
	files, err := filepath.Glob(filepath.Join(images(t, 90, 1), "*", "*.jpg"))
	if err != nil || len(files) != 90 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	shards := make([][][]byte, 5)
	for i, path := range files {
		shards[i%5] = append(shards[i%5], read(t, path))
	}
	for i, data := range badFiles(t, shards[0][0]) {
		shards[i] = append([][]byte{shards[i][0], data}, shards[i][1:]...)
	}
	dir := t.TempDir()
	for i, files := range shards {
		shard(t, filepath.Join(dir, fmt.Sprintf("train-%d.tar", i)), files)
	}
	return []string{
		"ingest.shards=" + filepath.Join(dir, "train-*.tar"), "loader.max_bad_fraction=0.2",
		"loader.shuffle.window=2", "loader.shuffle.buffer=7",
	}
}

// memoryBank is the shards again, in a run that keeps a memory bank.
func memoryBank(t *testing.T) []string { return append(badShards(t), "train.mechanism=memory_bank") }

// checkHistory says what the undisturbed run must be like for the comparison to mean something.
func checkHistory(t *testing.T, dir string) {
	t.Helper()
	for i, line := range history(t, dir) {
		if line["step"] != float64(i+1) {
			t.Fatalf("line %d of the metrics is of step %v", i, line["step"])
		}
	}
	last := history(t, dir)[39]
	if epoch := last["epoch"].(float64); epoch < 3 || epoch > 4 || last["samples"] != 320.0 {
		t.Errorf("last step: %v", last)
	}
	seen := map[string]int{}
	for _, letter := range jsonLines(t, filepath.Join(dir, "dead-letters.jsonl")) {
		seen[letter["key"].(string)]++
	}
	for key, n := range seen {
		if n < 3 || n > 4 {
			t.Errorf("%s is recorded %d times in three epochs and a part", key, n)
		}
	}
	if len(seen) != 3 {
		t.Errorf("dead letters of %v, want three images", seen)
	}
}

// history is the metrics without what the clock says.
func history(t *testing.T, dir string) []map[string]any {
	t.Helper()
	lines := jsonLines(t, filepath.Join(dir, "metrics.jsonl"))
	for _, line := range lines {
		delete(line, "images_per_second")
		delete(line, "data_wait")
	}
	return lines
}

// sameRun compares the end and the history of two runs.
func sameRun(t *testing.T, want, got string) {
	t.Helper()
	for _, name := range []string{
		"step-000000040/model.safetensors", "step-000000040/optimizer.safetensors", "step-000000040/state.json", "dead-letters.jsonl",
	} {
		if !bytes.Equal(read(t, filepath.Join(want, name)), read(t, filepath.Join(got, name))) {
			t.Errorf("%s differs from that of the run that nobody disturbed", name)
		}
	}
	a, b := history(t, want), history(t, got)
	if len(a) != len(b) {
		t.Fatalf("%d lines of metrics, want %d", len(b), len(a))
	}
	for i := range a {
		if !reflect.DeepEqual(a[i], b[i]) {
			t.Errorf("line %d of the metrics is %v, want %v", i, b[i], a[i])
		}
	}
}

// killedOnce also changes what must not matter: workers, readers, and a file that comes late to the folder.
func killedOnce(t *testing.T, whole string, set []string) {
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, nil, followed(tiny(dir, append(set, "loader.workers=1", "loader.fetchers=2")...))...)
	if _, ok := p.await(t, 17); !ok {
		t.Fatalf("ended before step 17:\n%s", p.stderr())
	}
	kill(t, p)
	if root, ok := folderOf(set); ok {
		write(t, filepath.Join(root, "aaa", "late.jpg"), read(t, filepath.Join(root, "bars", "000001.jpg")))
		defer os.RemoveAll(filepath.Join(root, "aaa"))
	}
	o := program(t, tiny(dir, append(set, "loader.workers=3", "loader.fetchers=5")...)...)
	o.want(t, exitOK, "going on from checkpoint")
	sameRun(t, whole, dir)
}

func folderOf(set []string) (root string, ok bool) {
	_, err := fmt.Sscanf(set[0], "ingest.dir=%s", &root)
	return root, err == nil
}

func kill(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if o := p.wait(t); o.code != -1 {
		t.Fatalf("ended with %d before it was killed:\n%s", o.code, o.err)
	}
}

// killedOften kills four times, anywhere between two steps or inside one, a checkpoint's writing included.
func killedOften(t *testing.T, whole string, set []string) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := filepath.Join(t.TempDir(), "run")
	for range 4 {
		p := start(t, nil, followed(tiny(dir, set...))...)
		if _, ok := p.await(t, 1+rng.IntN(9)); !ok {
			t.Fatalf("ended by itself:\n%s", p.stderr())
		}
		<-time.After(time.Duration(rng.Int64N(int64(40 * time.Millisecond))))
		kill(t, p)
	}
	program(t, tiny(dir, set...)...).want(t, exitOK)
	sameRun(t, whole, dir)
}

func stopped(t *testing.T, whole string, set []string) {
	dir := filepath.Join(t.TempDir(), "run")
	args := followed(tiny(dir, set...))
	p := start(t, nil, args...)
	if _, ok := p.await(t, 7); !ok {
		t.Fatalf("ended before step 7:\n%s", p.stderr())
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got := p.wait(t).want(t, exitOK, "checkpoint").object(t)
	lines := history(t, dir)
	steps := int64(got["steps"].(float64))
	if steps < 7 || steps >= 40 || int64(len(lines)) != steps || got["stopped"] != true || got["samples"] != float64(8*steps) {
		t.Errorf("%d lines of metrics, printed %v", len(lines), got)
	}
	if want := filepath.Join(dir, fmt.Sprintf("step-%09d", steps)); got["checkpoint"] != want {
		t.Errorf("checkpoint %v, want %s", got["checkpoint"], want)
	}
	if last := lines[len(lines)-1]; got["loss"] != last["loss"] || got["epoch"] != last["epoch"] {
		t.Errorf("printed %v, the last step is %v", got, last)
	}
	for _, key := range []string{"images_per_second", "data_wait"} {
		if v, ok := got[key].(float64); !ok || v < 0 {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	program(t, args...).want(t, exitOK, fmt.Sprintf("step-%09d", steps))
	sameRun(t, whole, dir)
}
