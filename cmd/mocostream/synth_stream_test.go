package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a topic holds is what the shards hold: the order, and with each frame its burst and label.
func TestSynthStream(t *testing.T) {
	stream := []string{"synth", "--stream", "tasks", "--tasks", "3", "--classes", "3", "--images", "9", "--size", "32", "--frames", "50", "--burst", "5"}
	out := filepath.Join(t.TempDir(), "s.tar")
	code, text, problem := command(append(slices.Clone(stream), "--out", out)...)
	if want := out + ": 50 frames in bursts of 5, tasks, 3 tasks, 32 px, seed 0\n"; code != exitOK || text != want {
		t.Fatalf("%d, %q, %s; want %q", code, text, problem, want)
	}
	b := standinBroker(t, "other")
	code, text, problem = command(append(slices.Clone(stream), "--brokers", b.Address(), "--topic", "frames", "--json")...)
	if code != exitOK {
		t.Fatalf("%d %s", code, problem)
	}
	if got := lastObject(t, text); got["out"] != "topic frames" {
		t.Errorf("says %v", got)
	}
	root := t.TempDir()
	code, text, problem = command("produce", "--data", out, "--brokers", b.Address(), "--topic", "from-shards", "--partitions", "1", "--labels")
	if code != exitOK {
		t.Fatalf("%d %s %s %s", code, text, problem, root)
	}
	sent, want := produced(t, b.Address(), "frames", 50), produced(t, b.Address(), "from-shards", 50)
	for i, r := range sent {
		if string(r.Key) != string(want[i].Key) || string(r.Value) != string(want[i].Value) || header(r, "label") != header(want[i], "label") {
			t.Errorf("message %d, %s, differs from the shard's, %s", i, r.Key, want[i].Key)
		}
		if burst := strings.TrimLeft(strings.Split(string(r.Key), "/")[0], "0"); header(r, "burst") != burst && i >= 5 {
			t.Errorf("%s has header burst %q", r.Key, header(r, "burst"))
		}
	}
}

func TestSynthStreamMisuse(t *testing.T) {
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"synth", exitUsage, "no --out"},
		{"synth --out x --shuffle", exitUsage, "--shuffle"},
		{"synth --stream tasks", exitUsage, "name one place"},
		{"synth --stream tasks --out x --topic y", exitUsage, "name one place"},
		{"synth --stream tasks --topic y", exitUsage, "no brokers"},
		{"synth --stream tasks --tasks 13 --out x", exitUsage, "tasks is 13; choose 2 to 12"},
		{"synth --stream film --out x", exitUsage, `stream is "film"; choose correlated, drift or tasks`},
		{"synth --stream drift --out x.tar.gz", exitUsage, "name it .tar"},
		{"synth --stream drift --out x --data gone", exitFailed, "gone"},
		{"synth --stream drift --out x --rate=-1", exitUsage, "--rate"},
		{"synth --stream drift --out x --classes 13", exitUsage, "classes is 13"},
	} {
		code, _, text := command(strings.Fields(test.args)...)
		if code != test.code || !strings.Contains(text, test.want) {
			t.Errorf("%s: %d, %s; want %d and %q", test.args, code, text, test.code, test.want)
		}
	}
}
