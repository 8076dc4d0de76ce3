package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mocostream/internal/cliprogress"
	"mocostream/internal/failpoint"
	"mocostream/internal/s3server"
	"mocostream/internal/safetensors"
	"mocostream/sink"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// versionsIn lists a folder of exports: the versions, and the one that latest points at.
func versionsIn(t *testing.T, runDir string) (versions []string, latest string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(runDir, "exports"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			versions = append(versions, e.Name())
		}
	}
	latest, err = os.Readlink(filepath.Join(runDir, "exports", "latest"))
	if err != nil {
		t.Fatal(err)
	}
	return versions, latest
}

func TestPublish(t *testing.T) {
	set := []string{"ingest.dir=" + images(t, 48, 1), "sink.publish.every=10", "sink.publish.keep=2", "sink.checkpoint_every=7"}
	whole := filepath.Join(t.TempDir(), "whole")
	program(t, tiny(whole, set...)...).want(t, exitOK, "published the encoder", "step-000000010", "step-000000040")
	versions, latest := versionsIn(t, whole)
	if !slices.Equal(versions, []string{"step-000000030", "step-000000040"}) || latest != "step-000000040" {
		t.Errorf("versions %v, latest %s", versions, latest)
	}
	checkPublished(t, whole)
	// The published folder starts another run.
	o := program(t, tiny(filepath.Join(t.TempDir(), "next"), set[0], "train.steps=1", "train.init_from="+filepath.Join(whole, "exports", "latest"))...)
	o.want(t, exitOK, "started from weights")

	// Killed right after publishing, three steps after a checkpoint, a run publishes the same version again.
	dir := filepath.Join(t.TempDir(), "killed")
	p := start(t, []string{failpoint.Env + "=" + failpoint.PublishAfter}, tiny(dir, set...)...)
	if o := p.wait(t); o.code != -1 {
		t.Fatalf("ended with %d:\n%s", o.code, o.err)
	}
	if versions, latest := versionsIn(t, dir); latest != "step-000000010" || len(versions) != 1 {
		t.Fatalf("versions %v, latest %s", versions, latest)
	}
	before := read(t, filepath.Join(dir, "exports", "latest", "model.safetensors"))
	p = start(t, []string{failpoint.Env + "=" + failpoint.PublishAfter + ":2"}, tiny(dir, set...)...)
	if o := p.wait(t); o.code != -1 || !strings.Contains(o.err, "step-000000007") {
		t.Fatalf("ended with %d:\n%s", o.code, o.err)
	}
	versions, latest = versionsIn(t, dir)
	if !slices.Equal(versions, []string{"step-000000010", "step-000000020"}) || latest != "step-000000020" {
		t.Errorf("versions %v, latest %s", versions, latest)
	}
	if !bytes.Equal(before, read(t, filepath.Join(dir, "exports", "step-000000010", "model.safetensors"))) {
		t.Error("a version changed")
	}
	program(t, tiny(dir, set...)...).want(t, exitOK)
	sameRun(t, whole, dir)
}

// checkPublished holds the latest export against the checkpoint of its step.
func checkPublished(t *testing.T, runDir string) {
	t.Helper()
	weights, _, err := safetensors.ReadFile(filepath.Join(runDir, "exports", "latest", "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	ck, err := sink.Read(filepath.Join(runDir, "step-000000040"))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]safetensors.Tensor{}
	for _, w := range ck.Model {
		byName[w.Name] = w
	}
	same, estimated := 0, 0
	for _, w := range weights {
		switch was, ok := byName["encoder_q."+w.Name]; {
		case !ok:
			t.Errorf("%s is not of the query encoder", w.Name)
		case bytes.Equal(was.Data, w.Data):
			same++
		case strings.Contains(w.Name, "running_"):
			estimated++
		default:
			t.Errorf("%s is not as in the checkpoint", w.Name)
		}
	}
	if same == 0 || estimated == 0 {
		t.Errorf("%d tensors are those of the checkpoint, %d were estimated anew", same, estimated)
	}
	if config := string(read(t, filepath.Join(runDir, "exports", "latest", "config.json"))); !strings.Contains(config, "architecture") {
		t.Errorf("config.json: %s", config)
	}
}

// trained is a session that has run to its end and is still open, with what it logged.
func trained(t *testing.T, args []string) (*session, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	log := zap.New(core)
	s, err := openSession(t.Context(), sessionOptions{config: loaded(t, args), log: log, writer: &lateWriter{Writer: io.Discard}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.run(t.Context(), nil, cliprogress.New(io.Discard, false, log, time.Hour, 0)); err != nil {
		t.Fatal(err)
	}
	return s, logs
}

// scrape is what the run's metrics say now.
func scrape(s *session) string {
	w := httptest.NewRecorder()
	s.watch.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// refusedBy wants the last publication to have been held back by a gate, in log and metrics.
func refusedBy(t *testing.T, s *session, logs *observer.ObservedLogs, gate string, n int, texts ...string) {
	t.Helper()
	lines := logs.FilterMessage("the encoder is not published").TakeAll()
	if len(lines) == 0 || lines[len(lines)-1].ContextMap()["gate"] != gate {
		t.Fatalf("log of refusals: %v, want gate %s", lines, gate)
	}
	logs.TakeAll()
	why := lines[len(lines)-1].ContextMap()["why"].(string)
	for _, text := range texts {
		if !strings.Contains(why, text) {
			t.Errorf("the log says %q, not %q", why, text)
		}
	}
	want := `{gate="` + gate + `"} ` + string(rune('0'+n))
	if text := scrape(s); !strings.Contains(text, want) {
		t.Errorf("metrics do not say %s:\n%s", want, text)
	}
}

func TestCollapsedIsNotPublished(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	s, logs := trained(t, tiny(dir, "ingest.dir="+images(t, 32, 1), "sink.publish.every=3", "sink.publish.min_spread=1", "train.steps=7"))
	if s.loop.Step() != 7 {
		t.Errorf("the run ended at step %d", s.loop.Step())
	}
	refusedBy(t, s, logs, gateCollapsed, 2, "spread", "sink.publish.min_spread")
	if _, err := os.Stat(filepath.Join(dir, "exports")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("exports: %v", err)
	}
}

// misfiled is a labelled folder whose images are in other classes' folders: no encoder answers it well.
func misfiled(t *testing.T) string {
	t.Helper()
	from, to := images(t, 30, 9), t.TempDir()
	folders, err := filepath.Glob(filepath.Join(from, "[a-z]*"))
	if err != nil || len(folders) != 3 {
		t.Fatalf("%v, %v", folders, err)
	}
	for i, folder := range folders {
		if err := os.CopyFS(filepath.Join(to, filepath.Base(folders[(i+1)%3])), os.DirFS(folder)); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func answers(n int, right bool) map[string][]bool {
	all := make([]bool, n)
	for i := range all {
		all[i] = right
	}
	return map[string][]bool{"hard": all}
}

// An encoder that answers worse than the last one published, or than the best, is held back, and one that answers better
// is not. Numbers that are none hold it back before anybody is asked.
func TestWorseIsNotPublished(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	photos := images(t, 60, 1)
	s, logs := trained(t, tiny(dir, "ingest.dir="+photos, "sink.publish.every=5", "sink.publish.min_spread=0", "train.steps=5",
		"eval.probes=[{name: hard, reference: "+photos+", query: "+misfiled(t)+"}]", "eval.k=5"))
	publish := func(step int64) {
		t.Helper()
		if err := s.publish(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	first := s.published.Last
	if first == nil || len(first.Correct["hard"]) != 30 || first.Top1 > 0.8 {
		t.Fatalf("published %+v", first)
	}
	publish(6) // the same encoder is no worse than itself
	if s.published.Last.Version != "step-000000006" {
		t.Errorf("published %s", s.published.Last.Version)
	}
	logs.TakeAll()
	s.published = published{Last: &publishedVersion{Version: "good", Correct: answers(30, true), Top1: 1}}
	publish(7)
	refusedBy(t, s, logs, gateWorse, 1, "hard", "good", "sink.publish.max_p_value")
	s.published = published{Best: s.published.Last, Last: &publishedVersion{Version: "bad", Correct: answers(30, false)}}
	publish(8)
	refusedBy(t, s, logs, gateWorse, 2, "good")
	s.published.Best = s.published.Last
	publish(9)
	if s.published.Last.Version != "step-000000009" || s.published.Best.Version != "step-000000009" {
		t.Errorf("published %+v", s.published)
	}
	s.published.Best = &publishedVersion{Version: "other", Correct: answers(29, true)} // of other images: not to be compared
	publish(10)
	if s.published.Last.Version != "step-000000010" {
		t.Errorf("published %s", s.published.Last.Version)
	}
	poison(t, s)
	publish(11)
	refusedBy(t, s, logs, gateFinite, 1, "number that is none")
	if _, latest := versionsIn(t, dir); latest != "step-000000010" {
		t.Errorf("latest %s", latest)
	}
}

// poison puts a NaN into the encoder.
func poison(t *testing.T, s *session) {
	t.Helper()
	ck, err := s.loop.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ck.Model {
		if strings.HasPrefix(w.Name, "encoder_q.") && len(w.Shape) == 4 {
			binary.LittleEndian.PutUint32(w.Data, math.Float32bits(float32(math.NaN())))
			break
		}
	}
	if err := s.trainer.Restore(ck); err != nil {
		t.Fatal(err)
	}
}

// Where a history that did not survive has published other bytes under the name, the new ones get one of their own, by
// which everything else calls them.
func TestPublishedUnderAnotherName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	write(t, filepath.Join(dir, "exports", "step-000000005", "model.safetensors"), []byte("of another history"))
	s, _ := trained(t, tiny(dir, "ingest.dir="+images(t, 32, 1), "sink.publish.every=5", "train.steps=5", "sink.publish.min_spread=0"))
	if _, latest := versionsIn(t, dir); latest != "step-000000005-2" || s.published.Last.Version != latest {
		t.Errorf("latest %s, published %+v", latest, s.published.Last)
	}
}

// With sink.s3 checkpoints and versions are in the bucket; a run that is killed goes on on another machine, to the same bits.
func TestPublishToBucket(t *testing.T) {
	server, url := bucketServer(t, s3server.Options{})
	server.Put("runs", "somebody-elses", []byte("file"))
	photos := images(t, 48, 1)
	set := func(prefix string) []string {
		return append([]string{"ingest.dir=" + photos, "sink.publish.every=10", "sink.s3.url=s3://runs/" + prefix, "sink.s3.lease=1s", "sink.keep=20"},
			bucketAccess("sink.s3", url)...)
	}
	program(t, tiny(filepath.Join(t.TempDir(), "run"), set("whole")...)...).want(t, exitOK, "published the encoder", "s3://runs/whole/exports/step-000000040")
	checkBucket(t, server, "whole", "step-000000040")

	p := start(t, nil, followed(tiny(filepath.Join(t.TempDir(), "here"), set("killed")...))...)
	if _, ok := p.await(t, 17); !ok {
		t.Fatalf("ended by itself:\n%s", p.stderr())
	}
	kill(t, p)
	program(t, tiny(filepath.Join(t.TempDir(), "there"), set("killed")...)...).want(t, exitOK, "going on from checkpoint", "step-000000015")
	checkBucket(t, server, "killed", "step-000000040")
	for _, name := range []string{"model.safetensors", "optimizer.safetensors", "state.json"} {
		if !bytes.Equal(inBucket(t, server, "whole/", name), inBucket(t, server, "killed/", name)) {
			t.Errorf("%s differs from that of the run that nobody disturbed", name)
		}
	}
}

// inBucket is a file of the checkpoint of step 40.
func inBucket(t *testing.T, server *s3server.Server, prefix, name string) []byte {
	t.Helper()
	for _, key := range server.Keys("runs") {
		if strings.HasPrefix(key, prefix) && strings.Contains(key, "/step-000000040-") && strings.HasSuffix(key, "/"+name) {
			data, _ := server.Get("runs", key)
			return data
		}
	}
	t.Fatalf("no %s of step 40 below %s in %v", name, prefix, server.Keys("runs"))
	return nil
}

func checkBucket(t *testing.T, server *s3server.Server, prefix, version string) {
	t.Helper()
	text, ok := server.Get("runs", prefix+"/exports/latest.json")
	if !ok {
		t.Fatalf("no latest.json in %v", server.Keys("runs"))
	}
	var latest struct{ Version string }
	if err := json.Unmarshal(text, &latest); err != nil || latest.Version != version {
		t.Fatalf("latest.json %s, %v", text, err)
	}
	data, _ := server.Get("runs", prefix+"/exports/"+version+"/model.safetensors")
	if weights, _, err := safetensors.Read(bytes.NewReader(data), int64(len(data))); err != nil || len(weights) == 0 {
		t.Errorf("%d tensors, %v", len(weights), err)
	}
}
