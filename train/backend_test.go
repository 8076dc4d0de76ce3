package train

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// captured returns what do writes to stdout.
func captured(t *testing.T, do func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	do()
	os.Stdout = stdout
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOpenBackendPrintsNothing(t *testing.T) {
	for _, config := range []string{"go", "go:parallelism=3", "go:ops_sequential,parallelism=2"} {
		text := captured(t, func() {
			b, err := OpenBackend(config)
			if err != nil {
				t.Fatalf("%s: %v", config, err)
			}
			b.Finalize()
		})
		if text != "" {
			t.Errorf("%s printed %q", config, text)
		}
	}
}

func TestOpenBackendSetsParallelism(t *testing.T) {
	b, err := OpenBackend("go")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	if !setParallelism(b.Backend, -1) {
		t.Error("the Go backend has no pool of workers that can be reached; see openCompute")
	}
}

func TestOpenBackendRefusesUnknownOptions(t *testing.T) {
	for _, config := range []string{"go:parallelism=many", "go:nonsense", "nonsense"} {
		b, err := OpenBackend(config)
		if err == nil {
			b.Finalize()
			t.Errorf("%s: no error", config)
		} else if !strings.Contains(err.Error(), config) {
			t.Errorf("%s: error %q does not name it", config, err)
		}
	}
}

func TestBackendCheck(t *testing.T) {
	b := goBackend(t)
	if _, err := b.Check(); err != nil {
		t.Error(err)
	}
}

// opened is what TestOpenBackendWithoutXLA's process tells of OpenBackend.
type opened struct{ Config, Why, Advice, Err string }

func openAndCheck(config string) (o opened) {
	b, err := OpenBackend(config)
	if err != nil {
		return opened{Err: err.Error()}
	}
	defer b.Finalize()
	_, err = b.Check()
	return opened{b.Config, b.Why, b.Advice, fmt.Sprint(err)}
}

// TestOpenBackendWithoutXLA looks for plugins where there are none. GoMLX decides where to look when the program starts,
// so it takes a process of its own.
func TestOpenBackendWithoutXLA(t *testing.T) {
	const inner = "MOCOSTREAM_TEST_OPEN_BACKENDS"
	if out := os.Getenv(inner); out != "" {
		all := map[string]opened{}
		for _, config := range []string{"auto", "", "xla:cuda", "xla:cpu"} {
			all[config] = openAndCheck(config)
		}
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	home, out := t.TempDir(), filepath.Join(t.TempDir(), "opened.json")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inner+"="+out, "HOME="+home, "XDG_CACHE_HOME="+home, "PJRT_PLUGIN_LIBRARY_PATH="+home)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]opened
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, config := range []string{"auto", ""} {
		b := all[config]
		if b.Err != "<nil>" || b.Config != goConfig || b.Why != "no XLA plugin can be used here" {
			t.Errorf("%q: %+v", config, b)
		}
		for _, part := range []string{"mocostream doctor", "xla:cuda", "xla:cpu"} {
			if !strings.Contains(b.Advice, part) {
				t.Errorf("%q: the advice %q does not name %q", config, b.Advice, part)
			}
		}
	}
	for _, config := range []string{"xla:cuda", "xla:cpu"} {
		if err := all[config].Err; !strings.HasPrefix(err, "open backend "+config+": ") {
			t.Errorf("%s: got %q, want an error that names it", config, err)
		}
	}
	if files, err := os.ReadDir(home); err != nil || len(files) != 0 {
		t.Errorf("looking for XLA left %v behind (%v)", files, err)
	}
}

// Whatever the machine has, the best backend says why it is the best and can compute.
func TestOpenBackendAuto(t *testing.T) {
	b, err := OpenBackend("auto")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	if b.Why == "" || b.Config == "" || (b.Advice == "") != strings.HasPrefix(b.Config, "xla") {
		t.Errorf("%s because %q; advice %q", b.Config, b.Why, b.Advice)
	}
	if _, err := b.Check(); err != nil {
		t.Error(err)
	}
}

func TestLayoutFollowsTheBackend(t *testing.T) {
	for config, want := range map[string]Layout{"go:parallelism=-1": LayoutCHWN, "go": LayoutCHWN, "xla:cuda": LayoutNHWC, "xla:cpu": LayoutNHWC} {
		if got := (&Backend{Config: config}).Layout(); got != want {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
	if b := goBackend(t); b.Config != goConfig || b.Why != "asked for" {
		t.Errorf("%s because %q", b.Config, b.Why)
	}
}
