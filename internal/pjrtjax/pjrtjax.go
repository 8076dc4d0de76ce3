// Package pjrtjax tells tests where the PJRT plugin is that runs GoMLX's own xla backend on the XLA of jaxlib, on any
// machine with Python: scripts/xla_cpu.sh builds it from the folder plugin, make integration does so. A test that asks
// for it where it is not is skipped, saying what to do; MOCOSTREAM_REQUIRE_XLA=1 makes that a failure.
//
// Every client of the plugin is a process of its own, which ends with it. The plugin is no part of the program.
package pjrtjax

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const (
	pathEnv    = "MOCOSTREAM_XLA_CPU" // of the plugin
	requireEnv = "MOCOSTREAM_REQUIRE_XLA"
)

// Options of the plugin's clients that a test opens, in this process or in one that inherits its environment.
type Options struct {
	Devices int    // how many the client has; 0: one
	Dump    string // folder for every compiled program; "": none. See Programs
	Timings string // file for a line about every execution; "": none. See ReadTimings
	// Fail says what befalls executions, counted from 1 over all programs of a client: "7=INTERNAL,9=RESOURCE_EXHAUSTED,12=die"
	// fails two with such errors and ends the client's process at the third.
	Fail string
}

// Config returns the configuration of a backend on the plugin, for train.OpenBackend and train.backend. The options hold
// until the test ends, so the test must not run in parallel with others.
func Config(t testing.TB, o Options) string {
	t.Helper()
	path := os.Getenv(pathEnv)
	switch {
	case path != "":
	case os.Getenv(requireEnv) == "1":
		t.Fatalf("%s is not set and %s=1; make integration sets both", pathEnv, requireEnv)
	default:
		t.Skipf("%s is not set; export %[1]s=$(scripts/xla_cpu.sh)", pathEnv)
	}
	t.Setenv("PJRTJAX_DEVICES", fmt.Sprint(max(o.Devices, 1)))
	t.Setenv("PJRTJAX_DUMP", o.Dump)
	t.Setenv("PJRTJAX_TIMINGS", o.Timings)
	t.Setenv("PJRTJAX_FAIL", o.Fail)
	return "xla:" + path + ",shared_buffers=false"
}

// Program is a compiled program.
type Program struct {
	StableHLO string // as GoMLX emitted it
	HLO       string // as XLA optimised it for the CPU, and partitioned it over devices
	Memory    Memory
}

// Memory is what a program needs on a device, in bytes. Outputs that take the memory of arguments are in Aliased.
type Memory struct {
	Code, Arguments, Outputs, Aliased, Temporary int64
}

// Programs reads the programs in a folder of Options.Dump, by their number, from 1.
func Programs(t testing.TB, dir string) map[int]Program {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "program-*.json"))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[int]Program{}
	for _, file := range files {
		var number int
		if _, err := fmt.Sscanf(filepath.Base(file), "program-%d.json", &number); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		base := file[:len(file)-len("json")]
		p := Program{StableHLO: string(read(t, base+"mlir")), HLO: string(read(t, base+"hlo"))}
		if err := json.Unmarshal(read(t, file), &p.Memory); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		programs[number] = p
	}
	return programs
}

// Timing is one execution.
type Timing struct {
	Program int     `json:"program"`
	Execute float64 `json:"execute_s"` // XLA alone, seconds
	Total   float64 `json:"total_s"`   // with the server's own work
	Buffers int     `json:"buffers"`   // alive after it
}

// ReadTimings reads the file of Options.Timings.
func ReadTimings(t testing.TB, path string) []Timing {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []Timing
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line Timing
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, line)
	}
	return all
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
