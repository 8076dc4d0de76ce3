package mocostream_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	required   = regexp.MustCompile(`(?m)^(?:require )?\s*([a-z][^\s()]+) (v[^\s]+)(.*)$`)
	documented = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (v[^ ]+) \\|")
)

// The page names every direct dependency with its version, and no module that is not required.
func TestDependenciesAreDocumented(t *testing.T) {
	pageVersions := make(map[string]string)
	for _, row := range documented.FindAllStringSubmatch(readFile(t, "docs/dependencies.md"), -1) {
		pageVersions[row[1]] = row[2]
	}
	versions := make(map[string]string)
	for _, line := range required.FindAllStringSubmatch(readFile(t, "go.mod"), -1) {
		module, version, comment := line[1], line[2], line[3]
		versions[module] = version
		if _, ok := pageVersions[module]; !ok && !strings.Contains(comment, "indirect") {
			t.Errorf("docs/dependencies.md does not say what %s is for", module)
		}
	}
	if len(versions) == 0 {
		t.Fatal("found no requirement in go.mod")
	}
	for module, version := range pageVersions {
		if versions[module] != version {
			t.Errorf("docs/dependencies.md has %s %s, go.mod has %q", module, version, versions[module])
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
