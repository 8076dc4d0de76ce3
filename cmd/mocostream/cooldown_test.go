package main

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/config"
	"mocostream/internal/failpoint"
	"mocostream/internal/s3server"
)

// folderSums are the hashes of a folder's files.
func folderSums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	sums := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			sums[path] = sha256.Sum256(read(t, path))
		}
		return err
	})
	if err != nil || len(sums) == 0 {
		t.Fatalf("%d files, %v", len(sums), err)
	}
	return sums
}

// A cool-down of a run that stays at its rate ends in the weights of the same run with that end from the start, and
// leaves the run as it is. Killed, it goes on by the same command.
func TestCooldownFinishesACopy(t *testing.T) {
	data := images(t, 60, 1)
	base := []string{"ingest.dir=" + data, "train.schedule.name=constant", "train.schedule.warmup_steps=3", "sink.checkpoint_every=3", "sink.ledger=true"}
	run, copied, whole := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "whole")
	program(t, tiny(run, append(base, "train.steps=10")...)...).want(t, exitOK)
	program(t, tiny(whole, append(base, "train.steps=18", "train.schedule.name=wsd", "train.schedule.decay_steps=8")...)...).want(t, exitOK)
	before := folderSums(t, run)

	// The source has changed since: the run's list still counts.
	write(t, filepath.Join(data, "aaa", "late.jpg"), read(t, filepath.Join(data, "bars", "000001.jpg")))
	args := append(tiny(copied, append(base, "train.steps=10")...), "--cooldown", run, "--steps", "8")
	killed := start(t, []string{failpoint.Env + "=step.after:6"}, args...).wait(t)
	if killed.code != -1 {
		t.Fatalf("exit code %d, want a killed process; stderr:\n%s", killed.code, killed.err)
	}
	o := program(t, args...).want(t, exitOK, `going on from checkpoint	{"checkpoint": "step-000000015", "step": 15}`)
	if end := o.object(t); end["steps"] != 18.0 || end["samples"] != 144.0 {
		t.Errorf("the cool-down ends as %v", end)
	}
	if !maps.Equal(before, folderSums(t, run)) {
		t.Error("the run's folder was changed")
	}
	const model = "step-000000018/model.safetensors"
	if !bytes.Equal(read(t, filepath.Join(copied, model)), read(t, filepath.Join(whole, model))) {
		t.Error("the weights are not those of the run that had this end from the start")
	}
	rates := map[float64]float64{}
	for _, line := range history(t, copied) {
		rates[line["step"].(float64)] = line["lr"].(float64)
	}
	for step := 11.0; step <= 18; step++ {
		if want := .03 * (1 - math.Sqrt((step-11)/8)); math.Abs(rates[step]-want) > 1e-9 {
			t.Errorf("step %v has the rate %v, want %v", step, rates[step], want)
		}
	}
	if len(rates) != 8 {
		t.Errorf("the copy's metrics are of %d steps, want 8", len(rates))
	}
	program(t, "ledger", "--checkpoint", copied).want(t, exitOK)
}

// From a bucket into another place of it, without the run's own folder: what a copy needs lies beside the checkpoints.
func TestCooldownInABucket(t *testing.T) {
	store := s3server.New(s3server.Options{})
	store.Put("runs", ".keep", nil)
	address, err := store.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	data := images(t, 40, 1)
	in := func(url string) []string {
		return tiny(filepath.Join(t.TempDir(), "run"), "ingest.dir="+data, "train.steps=4", "train.schedule.name=constant", "sink.s3.url="+url,
			"sink.s3.endpoint="+address, "sink.s3.path_style=true", "sink.s3.anonymous=true")
	}
	program(t, in("s3://runs/one")...).want(t, exitOK)
	write(t, filepath.Join(data, "aaa", "late.jpg"), read(t, filepath.Join(data, "bars", "000001.jpg")))
	before := store.Keys("runs")
	cool := []string{"--cooldown", "s3://runs/one/step-000000004", "--steps", "2", "--s3-endpoint", address, "--s3-anonymous"}
	o := program(t, append(in("s3://runs/two"), cool...)...).want(t, exitOK, "cool-down", `"images": 40`)
	if end := o.object(t); end["steps"] != 6.0 || end["checkpoint"] != "s3://runs/two/step-000000006" {
		t.Errorf("the cool-down ends as %v", end)
	}
	after := slices.DeleteFunc(store.Keys("runs"), func(key string) bool { return strings.HasPrefix(key, "two/") })
	if !slices.Equal(before, after) {
		t.Errorf("the run's objects are %q, were %q", after, before)
	}
}

// Nothing that a copy sends may be taken for the run's.
func TestCooldownIsQuiet(t *testing.T) {
	c := config.Default()
	c.Ingest.Kafka.Group, c.Sink.DeadTopic, c.Sink.Embeddings.To = "g", "dead", "topic"
	q := quiet(c)
	if q.Ingest.Kafka.Group != "" || q.Sink.DeadTopic != "" || q.Sink.Embeddings.To != "none" || c.Ingest.Kafka.Group != "g" {
		t.Errorf("%+v", q.Sink)
	}
}

func TestCooldownRefuses(t *testing.T) {
	data := images(t, 60, 1)
	run, other := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "other")
	base := []string{"ingest.dir=" + data, "train.steps=4", "train.schedule.name=constant"}
	program(t, tiny(run, base...)...).want(t, exitOK)
	program(t, tiny(other, base...)...).want(t, exitOK)
	finished := filepath.Join(t.TempDir(), "finished")
	program(t, tiny(finished, "ingest.dir="+data, "train.steps=4")...).want(t, exitOK) // cosine, at its end
	fresh := filepath.Join(t.TempDir(), "fresh")
	for name, c := range map[string]struct {
		dir  string
		set  []string
		args []string
		code int
		text string
	}{
		"the run itself":   {run, base, []string{"--cooldown", run, "--steps", "2"}, exitUsage, "is the run that is cooled down; name another folder"},
		"its step folder":  {run, base, []string{"--cooldown", filepath.Join(run, "step-000000004"), "--steps", "2"}, exitUsage, "is the run that is cooled down"},
		"another run":      {other, base, []string{"--cooldown", run, "--steps", "2"}, exitUsage, "step-000000004 is not of a cool-down over 2 steps; choose another sink.dir"},
		"no steps":         {fresh, base, []string{"--cooldown", run}, exitUsage, "--cooldown needs --steps"},
		"steps alone":      {fresh, base, []string{"--steps", "7"}, exitUsage, "--steps is of --cooldown; the length of a run is train.steps: --set train.steps=7"},
		"no checkpoint":    {fresh, base, []string{"--cooldown", data, "--steps", "2"}, exitFailed, "holds no step folder"},
		"another encoder":  {fresh, append(base, "train.dim=8"), []string{"--cooldown", run, "--steps", "2"}, exitUsage, run + " holds another run:\n  train.dim: 8, was 16"},
		"a finished run":   {fresh, []string{"ingest.dir=" + data, "train.steps=4"}, []string{"--cooldown", finished, "--steps", "2"}, exitUsage, "the learning rate at " + finished + " is 0 already"},
		"the run's bucket": {fresh, append(base, "sink.s3.url=s3://b/p/"), []string{"--cooldown", "s3://b/p/step-000000004", "--steps", "2"}, exitUsage, "sink.s3.url: s3://b/p/ is the run that is cooled down"},
	} {
		t.Run(name, func(t *testing.T) {
			program(t, append(tiny(c.dir, c.set...), c.args...)...).want(t, c.code, c.text)
		})
	}
	if _, err := os.Stat(filepath.Join(fresh, "metrics.jsonl")); err == nil {
		t.Error("a refused cool-down left metrics")
	}
}
