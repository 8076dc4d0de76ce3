package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/internal/failpoint"
	"mocostream/internal/pjrtjax"
)

const wentOn = "a step failed; going on from the newest checkpoint"

// Every eleventh step fails: with a checkpoint every fifth the run goes on each time, and ends as if nothing had been.
func TestFailedStepsAreTakenAgain(t *testing.T) {
	set := append(badFolder(t), "sink.ledger=true")
	whole, dir := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
	program(t, tiny(whole, set...)...).want(t, exitOK)
	o := start(t, []string{failpoint.Env + "=" + failpoint.StepFails + ":11"}, tiny(dir, set...)...).wait(t)
	// Steps 11, 21, 31 fail at hits 11, 22 and 33: each before it is taken, right after a checkpoint.
	o.want(t, exitOK, wentOn, "going on from checkpoint")
	if n := strings.Count(o.err, wentOn); n != 3 {
		t.Errorf("went on %d times, want 3:\n%s", n, o.err)
	}
	sameRun(t, whole, dir)
	if _, err := os.Stat(filepath.Join(dir, "report.html")); err != nil {
		t.Error(err)
	}
	program(t, "ledger", "--checkpoint", dir).want(t, exitOK)
}

// Before the first checkpoint there is one way to go on: from the start. A second failure is the device's last.
func TestDeviceThatFailsAgainEndsTheRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	args := tiny(dir, "ingest.dir="+images(t, 60, 1))
	o := start(t, []string{failpoint.Env + "=" + failpoint.StepFails + ":3"}, args...).wait(t)
	o.want(t, exitFailed, wentOn, "mocostream: twice in a row, without a checkpoint in between: the device failed, and weights are lost with the step")
	if n := strings.Count(o.err, wentOn); n != 1 {
		t.Errorf("went on %d times, want once:\n%s", n, o.err)
	}
	program(t, append(args, "--set", "train.steps=5")...).want(t, exitOK)
}

// On a real device: an execution fails for want of memory, and the process of the plugin's client dies.
func TestFailuresOfXLA(t *testing.T) {
	set := []string{"ingest.dir=" + images(t, 60, 1), "train.steps=6", "sink.checkpoint_every=3"}
	for name, c := range map[string]struct {
		fail  string
		code  int
		texts []string
		times int
	}{
		"it fails": {"5=INTERNAL", exitOK, []string{wentOn, "going on from checkpoint"}, 1},
		"it dies":  {"5=die", exitOK, []string{wentOn, "going on from checkpoint"}, 1},
		"memory": {"2=RESOURCE_EXHAUSTED", exitFailed,
			[]string{"step 2: the device's memory is too small for a step of 8 images", "set train.batch, or train.accumulate"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			args := tiny(dir, append(set, "train.backend="+pjrtjax.Config(t, pjrtjax.Options{Fail: c.fail}))...)
			o := program(t, args...).want(t, c.code, c.texts...)
			if n := strings.Count(o.err, wentOn); n != c.times {
				t.Errorf("went on %d times, want %d:\n%s", n, c.times, o.err)
			}
		})
	}
}
