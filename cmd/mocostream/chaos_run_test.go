//go:build integration

package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mocostream/internal/failpoint"
	"mocostream/internal/objects"
	"mocostream/sink"
	"mocostream/train"
)

// Sizes of a run under chaos: some milliseconds a step.
const (
	chaosBatch    = 64
	chaosStepsMin = 2 // steps that a process is left before it is killed at random
	chaosStepsMax = 9
)

// victim is a run that is killed again and again.
type victim struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	args  []string
	kills int
	hit   map[string]bool // failpoints that a process died at
	over  bool            // a process reached the end of the run

	bucket *bucketFeed // where the checkpoints are; nil: in dir
}

// newVictim makes a run of so many steps; command is train or daemon.
func newVictim(t *testing.T, rng *rand.Rand, command string, steps int, sets ...string) *victim {
	dir := filepath.Join(t.TempDir(), "run")
	args := tiny(dir, append([]string{
		fmt.Sprintf("train.batch=%d", chaosBatch), "train.k=256", "train.dim=8", "augment.size=8", "loader.workers=1",
		"sink.checkpoint_every=3", "sink.ledger=true", fmt.Sprintf("train.steps=%d", steps),
	}, sets...)...)
	args = followed(args)
	args[0] = command
	if command == "daemon" {
		args = append(slices.DeleteFunc(args, func(a string) bool { return a == "--json" }), "--set", "daemon.http=")
	}
	return &victim{t: t, rng: rng, dir: dir, args: args, hit: map[string]bool{}}
}

func (v *victim) start(env ...string) *process {
	v.t.Helper()
	return start(v.t, append(env, countEnv+"=1"), v.args...)
}

// ended takes note of a process that is no more. One that was not killed must have reached the end.
func (v *victim) ended(p *process) {
	v.t.Helper()
	o := p.wait(v.t)
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		v.kills++
		for _, name := range failpoint.Names() {
			if strings.Contains(o.err, "failpoint "+name+"\n") {
				v.hit[name] = true
			}
		}
	case o.code == exitOK:
		v.over = true
	default:
		v.t.Fatalf("ended with %d:\n%s", o.code, o.err)
	}
}

// killAt has a process die at the n-th hit of a failpoint, or after some steps if it does not get there.
func (v *victim) killAt(name string, n int) {
	v.t.Helper()
	p := v.start(fmt.Sprintf("%s=%s:%d", failpoint.Env, name, n))
	if _, going := p.await(v.t, 2*chaosStepsMax); going {
		_ = p.cmd.Process.Kill()
	}
	v.ended(p)
}

// killSoon kills a process after some steps and a moment: within a step, a checkpoint, a fetch.
func (v *victim) killSoon() {
	v.t.Helper()
	p := v.start()
	v.await(p, chaosStepsMin+v.rng.IntN(chaosStepsMax-chaosStepsMin))
	<-time.After(time.Duration(v.rng.Int64N(int64(30 * time.Millisecond)))) // any moment is as good as another
	_ = p.cmd.Process.Kill()
	v.ended(p)
}

// killEarly kills a process while it opens checkpoint, source and trainer.
func (v *victim) killEarly() {
	v.t.Helper()
	p := v.start()
	<-time.After(time.Duration(v.rng.Int64N(int64(400 * time.Millisecond))))
	_ = p.cmd.Process.Kill()
	v.ended(p)
}

// await blocks until a process made so many steps, or ended.
func (v *victim) await(p *process, steps int) bool {
	v.t.Helper()
	_, going := p.await(v.t, steps)
	return going
}

// finish lets the run reach its end.
func (v *victim) finish() {
	v.t.Helper()
	for !v.over {
		p := v.start()
		for v.await(p, 1) { // no step in a minute: samples are lost, and the run waits for others
		}
		v.ended(p)
	}
}

// tally is what a run that reached its end took.
type tally struct {
	kills                              int
	samples, missing, repeated, passed int64
}

func (s *tally) add(o tally) {
	s.kills += o.kills
	s.samples += o.samples
	s.missing += o.missing
	s.repeated += o.repeated
	s.passed += o.passed
}

// String is the line that a chaos run ends with.
func (s tally) String() string {
	return fmt.Sprintf("kills=%d samples=%d missing=%d repeated=%d", s.kills, s.samples, s.missing, s.repeated)
}

// check reads the ledger of a run that is over, and the counts that the test kept inside the checkpoint.
func (v *victim) check(want int64) tally {
	v.t.Helper()
	c := v.newest()
	report, err := checkLedger(v.t.Context(), v.dir, c)
	if err != nil {
		v.t.Fatal(err)
	}
	if !report.Exact() || report.Samples != want {
		v.t.Errorf("the ledger shows %+v, want %d samples", report, want)
	}
	v.checkCounts(c, want)
	return tally{kills: v.kills, samples: report.Samples, missing: report.Missing, repeated: report.Repeated + report.Unrecorded, passed: report.Passed}
}

func (v *victim) checkCounts(c *train.Checkpoint, want int64) {
	v.t.Helper()
	counts, err := countsOf(c)
	if err != nil {
		v.t.Fatal(err)
	}
	if once, more := counts.total(); once != want || more != 0 {
		v.t.Errorf("by the counts in the checkpoint %d samples were taken once and %d more often, want %d once", once, more, want)
	}
}

// newest reads the run's newest checkpoint.
func (v *victim) newest() *train.Checkpoint {
	v.t.Helper()
	folder, err := v.resolve()
	if err != nil {
		v.t.Fatal(err)
	}
	c, err := sink.Read(folder)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

func (v *victim) resolve() (folder string, err error) {
	if v.bucket == nil {
		return sink.Resolve(v.dir, nil)
	}
	client, err := objects.Open(v.t.Context(), objects.Options{
		Endpoint: v.bucket.url, PathStyle: true, Region: "us-east-1",
		AccessKey: func() (string, error) { return "key", nil }, SecretKey: func() (string, error) { return "secret", nil },
	})
	if err != nil {
		return "", err
	}
	return sink.ResolveS3(v.t.Context(), client, checkpointsURL, v.t.TempDir(), nil)
}

// total returns how many samples were taken once, and how many more often.
func (c sampleCounts) total() (once, more int64) {
	for _, partitions := range c {
		for _, offsets := range partitions {
			for _, n := range offsets {
				switch {
				case n == 1:
					once++
				case n > 1:
					more++
				}
			}
		}
	}
	return once, more
}
