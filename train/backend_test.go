package train

import (
	"io"
	"os"
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
