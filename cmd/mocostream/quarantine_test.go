package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/config"
	"mocostream/ingest"
	"mocostream/loader"

	"go.uber.org/zap"
)

// deadlyEnv names an image that ends the process of TestDeadlyDecoder.
const deadlyEnv = "MOCOSTREAM_TEST_DEADLY"

// TestDeadlyDecoder is no test but the process of examineCommand with a decoder that one image ends.
func TestDeadlyDecoder(t *testing.T) {
	path := os.Getenv(deadlyEnv)
	if path == "" {
		t.Skip("started by TestExamination")
	}
	deadly := read(t, path)
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadBytes('\n'); err != nil {
		os.Exit(exitFailed)
	}
	os.Stdout.Write([]byte{1})
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			os.Exit(exitOK)
		}
		image := make([]byte, binary.LittleEndian.Uint32(head[:]))
		if _, err := io.ReadFull(in, image); err != nil || bytes.Equal(image, deadly) {
			os.Exit(exitFailed)
		}
		os.Stdout.Write([]byte{1})
	}
}

// examined tries the first n images of a configuration's source.
func examined(t *testing.T, c *config.Config, e *examination, n int) error {
	t.Helper()
	in, err := openInput(t.Context(), c, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer e.end()
	return in.first(t.Context(), loaderOptions(c, loader.Token{}), n, func(s *loader.Sample) error { return e.try(t.Context(), s) })
}

func loaded(t *testing.T, args []string) *config.Config {
	t.Helper()
	var set []string
	for i := 1; i < len(args); i++ {
		if args[i-1] == "--set" {
			set = append(set, args[i])
		}
	}
	c, err := config.LoadForTraining("", set)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An image that ends the process which decodes it is found, kept away for ever, told of as a dead letter, and the run that
// could not get past it trains on all others.
func TestExamination(t *testing.T) {
	photos := images(t, 32, 1)
	deadly := filepath.Join(photos, "bar", "000003.jpg")
	if _, err := os.Stat(deadly); err != nil {
		all, _ := filepath.Glob(filepath.Join(photos, "*", "*.jpg"))
		deadly = all[3]
	}
	t.Setenv(deadlyEnv, deadly)
	runDir := filepath.Join(t.TempDir(), "run")
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	args := tiny(runDir, "ingest.dir="+photos, "train.steps=4", "loader.max_bad_fraction=0.5", "sink.ledger=true")
	c := loaded(t, args)
	q, err := openQuarantine(runDir, "")
	if err != nil {
		t.Fatal(err)
	}
	e := &examination{config: c, quarantine: q, log: zap.NewNop(), command: []string{os.Args[0], "-test.run=^TestDeadlyDecoder$"}}
	if err := examined(t, c, e, 32); err != nil || e.tried != 32 || e.found != 1 {
		t.Fatalf("tried %d images and found %d, %v; want 32 and 1", e.tried, e.found, err)
	}
	again := &examination{config: c, quarantine: q, log: zap.NewNop(), command: e.command}
	if err := examined(t, c, again, 32); err != nil || again.tried != 31 || again.found != 0 {
		t.Errorf("again: tried %d images and found %d, %v; want 31 and 0", again.tried, again.found, err)
	}
	if err := q.goodbye(); err != nil {
		t.Fatal(err)
	}
	program(t, args...).want(t, exitOK, "quarantined", filepath.Base(deadly))
	letters := jsonLines(t, filepath.Join(runDir, "dead-letters.jsonl"))
	if len(letters) != 1 || letters[0]["reason"] != "quarantined" || !strings.HasSuffix(deadly, letters[0]["key"].(string)) {
		t.Errorf("dead letters: %v", letters)
	}
	r := program(t, "ledger", "--checkpoint", runDir, "--json").want(t, exitOK).object(t)
	if r["samples"] != 32.0 || r["dead"] != 1.0 {
		t.Errorf("ledger: %v", r)
	}
}

// A decoder that does not even start accuses no image.
func TestExaminationWithoutDecoder(t *testing.T) {
	runDir := t.TempDir()
	c := loaded(t, tiny(runDir, "ingest.dir="+images(t, 16, 1)))
	q, err := openQuarantine(runDir, "")
	if err != nil {
		t.Fatal(err)
	}
	e := &examination{config: c, quarantine: q, log: zap.NewNop(), command: []string{"/bin/false"}}
	if err := examined(t, c, e, 16); err == nil || !strings.Contains(err.Error(), "examine images") {
		t.Errorf("error %v", err)
	}
	if len(q.bad) != 0 {
		t.Errorf("quarantined %v", q.bad)
	}
}

// Deaths are counted by the checkpoint that a process started from. A process that ended by itself, well or not, is none.
func TestDeathsAreCounted(t *testing.T) {
	dir := t.TempDir()
	lives := func(checkpoint string) *quarantine {
		t.Helper()
		q, err := openQuarantine(dir, checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	for i, want := range []bool{false, false, true, true} {
		if q := lives("step-000000005"); q.due() != want {
			t.Errorf("start %d at a checkpoint: examination due %v", i, q.due())
		}
	}
	if lives("step-000000010").due() {
		t.Error("an examination is due at a new checkpoint")
	}
	if err := lives("step-000000010").goodbye(); err != nil { // after its second death
		t.Fatal(err)
	}
	if q := lives("step-000000010"); q.due() || q.was.Deaths != 0 {
		t.Errorf("after a good end %d deaths are known", q.was.Deaths)
	}
	write(t, filepath.Join(dir, livingFile), []byte(`{"checkp`))
	if q := lives("step-000000010"); q.was.Deaths != 1 {
		t.Errorf("a torn file stands for %d deaths", q.was.Deaths)
	}
}

// What is quarantined is known to the next process, a line cut short excepted.
func TestQuarantineIsKept(t *testing.T) {
	dir := t.TempDir()
	q, err := openQuarantine(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	one := ingest.ID{Source: "s", Partition: 1, Offset: 2, Item: 3}
	if err := q.add(quarantined{ID: one, Key: "k", Reason: "because"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, quarantineFile)
	write(t, path, append(read(t, path), `{"id":{"sour`...))
	if q, err = openQuarantine(dir, ""); err != nil || q.refuse(one) != "because" || q.refuse(ingest.ID{Source: "s"}) != "" {
		t.Errorf("%v, %v", q.bad, err)
	}
	if err := q.add(quarantined{ID: ingest.ID{Source: "t"}, Reason: "too"}); err != nil {
		t.Fatal(err)
	}
	if q, err = openQuarantine(dir, ""); err != nil || q.refuse(one) != "because" || q.refuse(ingest.ID{Source: "t"}) != "too" {
		t.Errorf("after a line cut short: %v, %v", q.bad, err)
	}
	write(t, path, []byte("no JSON\n"))
	if _, err = openQuarantine(dir, ""); err == nil || !strings.Contains(err.Error(), quarantineFile) {
		t.Errorf("error %v", err)
	}
}

// A run whose processes are killed twice before their next checkpoint examines what was in flight and goes on, with a
// checkpoint a step for a while. One that was stopped examines nothing.
func TestKilledTwice(t *testing.T) {
	set := []string{"ingest.dir=" + images(t, 96, 1), "sink.checkpoint_every=10", "train.steps=24", "sink.keep=30"}
	dir := filepath.Join(t.TempDir(), "run")
	for range 2 {
		p := start(t, nil, followed(tiny(dir, set...))...)
		if _, ok := p.await(t, 2); !ok {
			t.Fatalf("ended by itself:\n%s", p.stderr())
		}
		kill(t, p)
	}
	o := start(t, nil, tiny(dir, set...)...).wait(t) // in a process of its own: it starts itself
	o.want(t, exitOK, "processes died twice at this checkpoint", "examined the images that were in flight")
	if !strings.Contains(o.err, `{"images": 40, "quarantined": 0}`) {
		t.Errorf("stderr:\n%s", o.err)
	}
	steps, err := filepath.Glob(filepath.Join(dir, "step-*"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, step := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 24} {
		want = append(want, filepath.Join(dir, fmt.Sprintf("step-%09d", step)))
	}
	if !slices.Equal(steps, want) {
		t.Errorf("checkpoints %v, want %v", steps, want)
	}
	if _, err := os.Stat(filepath.Join(dir, livingFile)); err == nil {
		t.Errorf("%s is left after a good end", livingFile)
	}
	var line struct {
		Until int64 `json:"until_step"`
	}
	for text := range strings.Lines(o.err) {
		if i := strings.Index(text, "{"); i >= 0 && strings.Contains(text, "until_step") {
			if err := json.Unmarshal([]byte(text[i:]), &line); err != nil {
				t.Error(err)
			}
		}
	}
	if line.Until != 10 {
		t.Errorf("every step has a checkpoint until step %d", line.Until)
	}
}
