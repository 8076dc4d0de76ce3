package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mocostream/internal/synth"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// What a test tells the copy of itself that it starts as the program.
const (
	childEnv    = "MOCOSTREAM_TEST_CHILD"     // set: be the program
	fileSizeEnv = "MOCOSTREAM_TEST_FILE_SIZE" // bytes at which writing a file fails, as on a full disk
	peakEnv     = "MOCOSTREAM_TEST_PEAK"      // file for the largest resident size, kB
)

func TestMain(m *testing.M) {
	examines := len(os.Args) > 1 && os.Args[1] == "examine" // for a run inside the tests' own process
	if os.Getenv(childEnv) != "" || examines {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// child is the program in a process of its own, to be killed or limited.
func child() int {
	if text := os.Getenv(fileSizeEnv); text != "" {
		limit, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			panic(err)
		}
		signal.Ignore(syscall.SIGXFSZ) // so that write returns an error
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			panic(err)
		}
	}
	code := runChild()
	if path := os.Getenv(peakEnv); path != "" {
		if err := os.WriteFile(path, []byte(peak()), 0o644); err != nil {
			panic(err)
		}
	}
	return code
}

// peak returns VmHWM in kB. It counts this program alone, unlike wait's ru_maxrss, which remembers the process that
// started it.
func peak() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	return strings.Fields(rest)[0]
}

// output is what a run of the program left.
type output struct {
	code     int
	out, err string
}

// program runs the program inside the test.
func program(t *testing.T, args ...string) output {
	t.Helper()
	var out, err bytes.Buffer
	code := run(args, &out, &err)
	return output{code, out.String(), err.String()}
}

// want fails unless the exit code and every text on stderr are there.
func (o output) want(t *testing.T, code int, texts ...string) output {
	t.Helper()
	if o.code != code {
		t.Fatalf("exit code %d, want %d; stderr:\n%s", o.code, code, o.err)
	}
	for _, text := range texts {
		if !strings.Contains(o.err, text) {
			t.Errorf("stderr does not say %q:\n%s", text, o.err)
		}
	}
	return o
}

// object is the JSON object on the last line of stdout.
func (o output) object(t *testing.T) map[string]any {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(o.out, "\n"), "\n")
	var m map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
		t.Fatalf("last line of stdout: %v\n%s", err, o.out)
	}
	return m
}

// process is the program in a process of its own. Its log lines are followed as they come.
type process struct {
	cmd   *exec.Cmd
	out   bytes.Buffer
	steps chan int64 // of every log line that says one; closed at the end of stderr

	mu  sync.Mutex
	err strings.Builder
}

// start starts train with JSON log lines; set log_every to 1ns to follow every step.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self, args...), steps: make(chan int64, 4096)}
	p.cmd.Env = append(append(os.Environ(), childEnv+"=1"), env...)
	p.cmd.Stdout = &p.out
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go p.follow(bufio.NewScanner(stderr))
	return p
}

func (p *process) follow(lines *bufio.Scanner) {
	defer close(p.steps)
	for lines.Scan() {
		p.mu.Lock()
		fmt.Fprintln(&p.err, lines.Text())
		p.mu.Unlock()
		var line struct {
			Msg  string
			Step int64
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "training" {
			p.steps <- line.Step
		}
	}
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// await blocks until n further steps are finished, and returns the last one's number; false if the process ended first.
func (p *process) await(t *testing.T, n int) (step int64, ok bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for range n {
		select {
		case step, ok = <-p.steps:
			if !ok {
				return 0, false
			}
		case <-deadline:
			t.Fatalf("no %d steps in a minute; stderr:\n%s", n, p.stderr())
		}
	}
	return step, true
}

// wait reads the rest and returns what the process left; the code is -1 where a signal ended it.
func (p *process) wait(t *testing.T) output {
	t.Helper()
	for range p.steps {
	}
	_ = p.cmd.Wait() // the exit code says it
	return output{p.cmd.ProcessState.ExitCode(), p.out.String(), p.stderr()}
}

// tiny is a run of a few milliseconds a step; set adds to it or overrides it.
func tiny(runDir string, set ...string) []string {
	args := []string{"train", "-c", os.DevNull, "--json"}
	for _, s := range append([]string{
		"sink.dir=" + runDir, "sink.checkpoint_every=5", "augment.size=16",
		"train.arch=resnet10", "train.width=4", "train.stem=cifar", "train.dim=16", "train.batch=8", "train.k=16",
		"train.bn_groups=2", "train.backend=go", "train.steps=40",
	}, set...) {
		args = append(args, "--set", s)
	}
	return args
}

// followed adds what process.await needs.
func followed(args []string) []string {
	return append(args, "--log-format", "json", "--set", "sink.log_every=1ns")
}

// images draws a labelled set into a new folder.
func images(t *testing.T, n int, seed uint64) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	if err := synth.WriteDir(t.Context(), dir, synth.Options{Classes: 3, Images: n, Size: 32, Seed: seed}, 2); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// shard writes files as one tar in WebDataset's convention.
func shard(t *testing.T, path string, files [][]byte) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, data := range files {
		h := &tar.Header{Name: fmt.Sprintf("%s-%03d.jpg", strings.TrimSuffix(filepath.Base(path), ".tar"), i), Mode: 0o644, Size: int64(len(data))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, path, b.Bytes())
}

// jsonLines reads a file of JSON objects, one a line.
func jsonLines(t *testing.T, path string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(string(read(t, path))) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v: %s", path, err, line)
		}
		all = append(all, m)
	}
	return all
}
