package mocostream_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mocostream/config"
)

// named finds what looks like a key of the configuration.
var named = regexp.MustCompile(`\b(?:ingest|loader|augment|train|sink|eval|monitor|daemon)(?:\.[a-z0-9_]+)+\b`)

// TestNamedKeysExist reads what messages and pages say: a remedy that names a key that is not there helps nobody.
func TestNamedKeysExist(t *testing.T) {
	known := map[string]bool{}
	for _, k := range config.Keys() {
		name := strings.TrimSuffix(k.Name, "[]")
		for ; name != ""; name = name[:max(strings.LastIndex(name, "."), 0)] {
			known[strings.ReplaceAll(name, "[]", "")] = true
		}
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipFolder(path)
		}
		isGo := strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go")
		if !isGo && !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if isGo && !bytes.ContainsAny(line, "\"`") {
				continue // code: train.Step, loader.options
			}
			for _, key := range named.FindAllString(string(line), -1) {
				if !known[key] && !elsewhere(key) {
					t.Errorf("%s:%d: there is no key %s", path, i+1, key)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// elsewhere says what looks like a key and is something else: a file, or an example of a mistake.
func elsewhere(name string) bool {
	switch filepath.Ext(name) {
	case ".go", ".md", ".json", ".yaml":
		return true
	}
	return name == "train.archh" // docs/getting-started.md shows a mistake
}
