package failpoint

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// childEnv makes the test binary a process that passes every failpoint three times and says so.
const childEnv = "MOCOSTREAM_FAILPOINT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	for range 3 {
		for _, name := range Names() {
			Hit(name)
			fmt.Println(name)
		}
	}
}

// child returns the failpoints that a child passed, its stderr, and whether SIGKILL ended it.
func child(t *testing.T, spec string) (passed []string, stderr string, code int, killed bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"=1", Env+"="+spec)
	var out, text strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &text
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return strings.Fields(out.String()), text.String(), cmd.ProcessState.ExitCode(), status.Signaled() && status.Signal() == syscall.SIGKILL
}

func TestEveryFailpointKills(t *testing.T) {
	for i, name := range Names() {
		passed, stderr, _, killed := child(t, fmt.Sprintf("%s:2", name))
		if !killed || len(passed) != len(Names())+i || !strings.Contains(stderr, "failpoint "+name+"\n") {
			t.Errorf("%s:2: killed %v after %d failpoints, want %d; stderr %q", name, killed, len(passed), len(Names())+i, stderr)
		}
	}
}

func TestFirstHitWithoutANumber(t *testing.T) {
	if passed, _, _, killed := child(t, Fetch); !killed || len(passed) != 0 {
		t.Errorf("killed %v after %v", killed, passed)
	}
}

func TestOffWithoutTheEnvironment(t *testing.T) {
	passed, stderr, code, killed := child(t, "")
	if killed || code != 0 || stderr != "" || len(passed) != 3*len(Names()) {
		t.Errorf("killed %v, code %d, stderr %q, %d failpoints passed", killed, code, stderr, len(passed))
	}
}

// A misspelt failpoint must not look like a crash test that passed.
func TestWrongSpecificationEndsTheProcess(t *testing.T) {
	for spec, text := range map[string]string{
		"step": "names no failpoint", "step.after:0": "1 or more", "step.after:x": "1 or more", "random": "seed", "random:-1": "seed",
	} {
		passed, stderr, code, killed := child(t, spec)
		if killed || code != 2 || len(passed) != 0 || !strings.Contains(stderr, text) {
			t.Errorf("%s: killed %v, code %d, %d passed, stderr %q", spec, killed, code, len(passed), stderr)
		}
	}
}

func TestRandomIsASeedsOwn(t *testing.T) {
	var seen []string
	for seed := range 200 {
		a, errA := parse(fmt.Sprintf("random:%d", seed))
		b, errB := parse(fmt.Sprintf("random:%d", seed))
		if errA != nil || errB != nil || a.name != b.name || a.left != b.left || a.left < 1 || a.left > randomHits {
			t.Fatalf("seed %d: %v and %v, %v, %v", seed, a, b, errA, errB)
		}
		seen = append(seen, a.name)
	}
	slices.Sort(seen)
	if n := len(slices.Compact(seen)); n != len(Names()) {
		t.Errorf("200 seeds draw %d failpoints of %d", n, len(Names()))
	}
}

// Err is an error at every n-th hit of its own failpoint, and a trap of another never springs.
func TestErrComesEveryNthTime(t *testing.T) {
	before := armed
	t.Cleanup(func() { armed = before })
	for spec, want := range map[string]string{"step.fails:3": "--x--x--", "step.fails": "xxxxxxxx", "step.after:3": "--------", "": "--------"} {
		armed = nil
		if spec != "" {
			var err error
			if armed, err = parse(spec); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		for range 8 {
			mark := "-"
			if err := Err(StepFails); err != nil {
				mark = "x"
			}
			got += mark
		}
		if got != want {
			t.Errorf("%q: %s, want %s", spec, got, want)
		}
	}
}

func BenchmarkHitWhenOff(b *testing.B) {
	for b.Loop() {
		Hit(StepBefore)
	}
}
