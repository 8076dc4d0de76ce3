//go:build integration && cgo && !noxla

package pjrtjax_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mocostream/internal/pjrtjax"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

func open(t *testing.T, o pjrtjax.Options) compute.Backend {
	t.Helper()
	b, err := compute.NewWithConfig(pjrtjax.Config(t, o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Finalize)
	return b
}

// doubler returns a program that doubles a vector of floats.
func doubler(t *testing.T, b compute.Backend) *graph.Exec {
	t.Helper()
	exec, err := graph.NewExec(b, func(x *graph.Node) *graph.Node { return graph.MulScalar(x, 2) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(exec.Finalize)
	return exec
}

// double runs the program once.
func double(exec *graph.Exec, x []float32) ([]float32, error) {
	out, err := exec.Call(x)
	if err != nil {
		return nil, err
	}
	defer out[0].FinalizeAll()
	return tensors.CopyFlatData[float32](out[0])
}

func TestExecute(t *testing.T) {
	dir := t.TempDir()
	o := pjrtjax.Options{Dump: filepath.Join(dir, "programs"), Timings: filepath.Join(dir, "timings")}
	exec := doubler(t, open(t, o))
	for i := range 5 {
		if y, err := double(exec, []float32{1, 2, float32(i)}); err != nil || fmt.Sprint(y) != fmt.Sprint([]float32{2, 4, 2 * float32(i)}) {
			t.Fatalf("got %v, %v", y, err)
		}
	}
	timings := pjrtjax.ReadTimings(t, o.Timings)
	if len(timings) != 5 || timings[4].Execute <= 0 || timings[4].Total < timings[4].Execute {
		t.Errorf("timings %v", timings)
	}
	if timings[4].Buffers != timings[1].Buffers {
		t.Errorf("buffers are left behind: %v", timings)
	}
	p, ok := pjrtjax.Programs(t, o.Dump)[1]
	if !ok || !strings.Contains(p.StableHLO, "stablehlo.multiply") || !strings.HasPrefix(p.HLO, "HloModule") || p.Memory.Arguments < 12 {
		t.Errorf("program 1 is there: %v; %+v", ok, p)
	}
}

// Every type that crosses comes back as it was.
func TestTransfer(t *testing.T) {
	b := open(t, pjrtjax.Options{})
	for _, want := range []any{
		[]float32{1.5, -2}, []float64{1e300}, []int32{-7, 1 << 30}, []int64{-1 << 62}, []uint8{0, 255}, []bool{true, false}, float32(3), []int8{-128},
	} {
		exec, err := graph.NewExec(b, func(x *graph.Node) *graph.Node { return graph.Identity(x) })
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Call(want)
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if got := out[0].Value(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%T: got %v, want %v", want, got, want)
		}
		exec.Finalize()
	}
}

func TestFailures(t *testing.T) {
	exec := doubler(t, open(t, pjrtjax.Options{Fail: "2=INTERNAL,3=RESOURCE_EXHAUSTED,5=die"}))
	for i, want := range []string{"", "code=13", "code=8", "", "code=14", "code=14"} {
		y, err := double(exec, []float32{1})
		switch {
		case want == "" && (err != nil || y[0] != 2):
			t.Errorf("execution %d: %v, %v", i+1, y, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("execution %d: error %v, want one with %s", i+1, err, want)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []pjrtjax.Options{{Fail: "x=INTERNAL"}, {Fail: "3=SOMETHING"}, {Devices: 65}} {
		b, err := compute.NewWithConfig(pjrtjax.Config(t, o))
		if err == nil {
			b.Finalize()
			t.Errorf("%+v: no error", o)
		} else if !strings.Contains(err.Error(), "PJRTJAX_") {
			t.Errorf("%+v: error %v does not name the variable", o, err)
		}
	}
}

func TestDevices(t *testing.T) {
	if n := open(t, pjrtjax.Options{Devices: 8}).NumDevices(); n != 8 {
		t.Errorf("%d devices, want 8", n)
	}
}

const innerEnv = "PJRTJAX_TEST_INNER"

// TestServerEndsWithProgram kills a program that has a client; the client's process must not outlive it.
func TestServerEndsWithProgram(t *testing.T) {
	if os.Getenv(innerEnv) != "" {
		if _, err := double(doubler(t, open(t, pjrtjax.Options{})), []float32{1}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("ready")
		select {} // until it is killed
	}
	pjrtjax.Config(t, pjrtjax.Options{})
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), innerEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("ready"))
	if _, err := out.Read(line); err != nil || string(line) != "ready" {
		t.Fatalf("%s, %v", line, err)
	}
	servers := children(t, cmd.Process.Pid)
	if len(servers) != 1 {
		t.Fatalf("%d child processes, want the server", len(servers))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the kill
	for deadline := time.Now().Add(20 * time.Second); alive(servers[0]); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives on", servers[0])
		}
	}
}

// children lists the child processes of every thread of a process.
func children(t *testing.T, pid int) (list []int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, _ := os.ReadFile(file) // a thread may have ended
		for _, field := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, n)
		}
	}
	return list
}

// alive says whether a process runs; a dead one that nobody waited for does not.
func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(status, []byte(") Z "))
}
