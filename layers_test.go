package mocostream_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "mocostream"

// flow lists the packages in the order in which the data passes them. A package imports only what stands left of it, and
// its own sub-packages.
var flow = []string{"ingest", "loader", "augment", "train", "sink", "cmd"}

// TestImportsFollowTheFlow reads the import clauses of all files that are not tests, whatever their build tags.
func TestImportsFollowTheFlow(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipFolder(file)
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || !strings.Contains(file, "/") {
			return nil // the root package holds no code
		}
		files++
		return checkFile(t, filepath.ToSlash(file))
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Error("no Go files found: the test looks at the wrong folder")
	}
}

// skipFolder leaves out what the go command leaves out, and what a build or a run leaves behind.
func skipFolder(dir string) error {
	name := filepath.Base(dir)
	ignored := dir == "bin" || dir == "demo" || dir == "runs"
	if dir != "." && (ignored || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
		return fs.SkipDir
	}
	return nil
}

func checkFile(t *testing.T, file string) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if why := violation(path.Dir(file), imported); why != "" {
			t.Errorf("%s imports %s: %s", file, imported, why)
		}
	}
	return nil
}

// violation says why the package in folder dir may not import a path; empty if it may.
func violation(dir, imported string) string {
	switch {
	case imported == "C" && dir != "augment/jpeg" && dir != "augment/kernel":
		return "only augment/jpeg and augment/kernel use C"
	case within(imported, "github.com/gomlx") && !within(dir, "train"):
		return "only train knows GoMLX"
	case imported == module:
		return "the root package holds no code"
	case !within(imported, module):
		return ""
	}
	target := strings.TrimPrefix(imported, module+"/")
	if leaf(dir) != "" {
		if leaf(dir) == leaf(target) {
			return ""
		}
		return "config and the packages in internal are leaves: they import nothing of ours"
	}
	if leaf(target) != "" {
		return ""
	}
	from, to := room(dir), room(target)
	switch {
	case within(target, "cmd"):
		return "nothing imports the commands"
	case from < 0:
		return "the folder has no place in the flow; give it one in layers_test.go"
	case to < 0:
		return "the import has no place in the flow; give it one in layers_test.go"
	case to > from:
		return "it points against the flow (" + strings.Join(flow, " <- ") + ")"
	}
	return ""
}

// leaf returns the leaf that a folder belongs to: config, or one folder of internal; empty for other folders.
func leaf(dir string) string {
	parts := strings.Split(dir, "/")
	switch {
	case parts[0] == "config":
		return "config"
	case parts[0] == "internal" && len(parts) > 1:
		return "internal/" + parts[1]
	}
	return ""
}

func room(dir string) int {
	first, _, _ := strings.Cut(dir, "/")
	return slices.Index(flow, first)
}

// within tells whether a slash-separated path is the parent or lies under it.
func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

func TestViolation(t *testing.T) {
	for _, c := range []struct {
		dir, imported string
		allowed       bool
	}{
		{"ingest/kafka", "mocostream/ingest", true},
		{"ingest", "mocostream/ingest/kafka", true},
		{"loader", "mocostream/ingest", true},
		{"ingest", "mocostream/loader", false},
		{"ingest/s3", "mocostream/train/nn", false},
		{"augment/jpeg", "mocostream/internal/limits", true},
		{"train", "mocostream/sink", false},
		{"sink/local", "mocostream/train", true},
		{"cmd/mocostream", "mocostream/config", true},
		{"cmd/mocostream", "mocostream/cmd/other", false},
		{"sink", "mocostream/cmd/mocostream", false},
		{"config", "mocostream/train", false},
		{"config", "mocostream/internal/synth", false},
		{"internal/synth", "mocostream/internal/knn", false},
		{"internal/synth", "mocostream/ingest", false},
		{"internal/synth/deep", "mocostream/internal/synth", true},
		{"train/nn", "github.com/gomlx/gomlx/core/graph", true},
		{"sink", "github.com/gomlx/gomlx/core/tensors", false},
		{"cmd/mocostream", "github.com/gomlx/compute", false},
		{"augment/jpeg", "C", true},
		{"augment", "C", false},
		{"loader", "mocostreamer/x", true},
		{"loader", "mocostream", false},
		{"util", "mocostream/ingest", false},
		{"cmd/mocostream", "mocostream/util", false},
		{"loader", "net/http", true},
	} {
		if why := violation(c.dir, c.imported); (why == "") != c.allowed {
			t.Errorf("%s imports %s: allowed %v (%q), want %v", c.dir, c.imported, why == "", why, c.allowed)
		}
	}
}
