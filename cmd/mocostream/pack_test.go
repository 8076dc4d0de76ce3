package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs one and returns its exit code and what it wrote.
func command(args ...string) (code int, out, errors string) {
	var stdout, stderr bytes.Buffer
	code = run(args, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// lastObject is the JSON object on the last line.
func lastObject(t *testing.T, out string) map[string]any {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var object map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &object); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return object
}

// A folder is packed, indexed, and its shards packed again into another form.
func TestPackAndIndex(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	if code, _, text := command("synth", "--out", at("images"), "--images", "60", "--classes", "3", "--size", "32"); code != exitOK {
		t.Fatalf("synth: %s", text)
	}
	from := at("images")
	for _, format := range []string{"tar", "parquet", "arrow"} {
		to := at(format)
		code, out, text := command("pack", "--data", from, "--out", to, "--format", format, "--shard-samples", "25",
			"--shard-size", "1GiB", "--labels", "--json")
		if code != exitOK {
			t.Fatalf("pack %s: %s", format, text)
		}
		got := lastObject(t, out)
		if got["images"] != 60.0 || got["shards"] != 3.0 || got["skipped"] != 0.0 || got["format"] != format {
			t.Errorf("pack %s: %v", format, got)
		}
		before, err := os.ReadFile(filepath.Join(to, "index.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		code, out, text = command("index", to, "--json")
		if got := lastObject(t, out); code != exitOK || got["images"] != 60.0 || got["shards"] != 3.0 {
			t.Errorf("index %s: %v %s", format, got, text)
		}
		if after, err := os.ReadFile(filepath.Join(to, "index.jsonl")); err != nil || !bytes.Equal(before, after) {
			t.Errorf("index %s: wrote %s over %s, %v", format, after, before, err)
		}
		from = to
	}
}

func TestPackMisuse(t *testing.T) {
	root := t.TempDir()
	full := filepath.Join(root, "full")
	if err := os.Mkdir(full, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.tar", "b.jpg"} {
		if err := os.WriteFile(filepath.Join(full, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	images := filepath.Join(root, "images")
	if err := os.Mkdir(images, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(images, "b.jpg"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, test := range map[string]struct {
		code int
		args []string
	}{
		"no such file":    {exitFailed, []string{"--data", filepath.Join(root, "gone"), "--out", filepath.Join(root, "out")}},
		"holds a.tar":     {exitFailed, []string{"--data", images, "--out", full}},
		"is no size":      {exitUsage, []string{"--data", images, "--out", "o", "--shard-size", "many"}},
		"must be one of":  {exitUsage, []string{"--data", images, "--out", "o", "--format", "zip"}},
		"--shard-samples": {exitUsage, []string{"--data", images, "--out", "o", "--shard-samples=-1"}},
		"does not name":   {exitFailed, []string{"--data", images, "--out", filepath.Join(root, "out"), "--name", "x"}},
	} {
		code, _, text := command(append([]string{"pack"}, test.args...)...)
		if code != test.code || !strings.Contains(text, want) {
			t.Errorf("pack %v: %d, %s, want %d and %q", test.args, code, text, test.code, want)
		}
	}
	if code, _, text := command("index", filepath.Join(root, "gone")); code != exitFailed || !strings.Contains(text, "no such file") {
		t.Errorf("index of nothing: %d, %s", code, text)
	}
}
