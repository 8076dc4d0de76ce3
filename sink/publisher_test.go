package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mocostream/internal/failpoint"
)

// showcase is a place that exports are published to, as its readers see it.
type showcase interface {
	publisher(t *testing.T, keep int, point func(string)) Publisher
	latest(t *testing.T) map[string]string // content of the latest version by file name; nil: none
	versions(t *testing.T) []string
}

var showcases = map[string]func(t *testing.T) showcase{
	"local":  func(t *testing.T) showcase { return localShowcase{filepath.Join(t.TempDir(), "exports")} },
	"memory": func(*testing.T) showcase { return s3Showcase{newBucket()} },
	"server": func(t *testing.T) showcase { return s3Showcase{serve(t, nil)} },
}

type localShowcase struct{ dir string }

func (l localShowcase) publisher(t *testing.T, keep int, point func(string)) Publisher {
	return &LocalPublisher{Dir: l.dir, Keep: keep, Warn: func(text string) { t.Error(text) }, Point: point}
}

func (l localShowcase) latest(t *testing.T) map[string]string {
	dir, err := filepath.EvalSymlinks(filepath.Join(l.dir, latestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return tree(t, dir)
}

func (l localShowcase) versions(t *testing.T) []string {
	return slices.DeleteFunc(folders(t, l.dir), func(name string) bool { return name == latestName })
}

type s3Showcase struct{ bucket bucketOfTest }

func (s s3Showcase) publisher(t *testing.T, keep int, point func(string)) Publisher {
	p, err := NewS3Publisher(S3PublisherOptions{
		Client: s.bucket, Bucket: "b", Prefix: "runs/a", Keep: keep, Warn: func(text string) { t.Error(text) }, Point: point,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s s3Showcase) content(key string) []byte {
	var content []byte
	s.bucket.change(key, func(b []byte) []byte { content = b; return b })
	return content
}

// latest reads as a service would: the pointer, then the files that it names, by their sums.
func (s s3Showcase) latest(t *testing.T) map[string]string {
	if len(s.bucket.keys("runs/a/exports/latest.json")) == 0 {
		return nil
	}
	var p pointer
	if err := json.Unmarshal(s.content("runs/a/exports/latest.json"), &p); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, want := range p.Files {
		b := s.content("runs/a/exports/" + p.Version + "/" + name)
		if got, err := sumReader(bytes.NewReader(b)); err != nil || got != want {
			t.Errorf("%s of %s: %+v, latest.json says %+v", name, p.Version, got, want)
		}
		files[name] = string(b)
	}
	return files
}

func (s s3Showcase) versions(*testing.T) []string {
	var list []string
	for _, key := range s.bucket.keys("runs/a/exports/") {
		version, _, inside := strings.Cut(strings.TrimPrefix(key, "runs/a/exports/"), "/")
		if inside && !slices.Contains(list, version) {
			list = append(list, version)
		}
	}
	slices.Sort(list)
	return list
}

// export makes a folder of files as Export does.
func exportOf(t *testing.T, text string) string {
	dir := t.TempDir()
	overwrite(t, filepath.Join(dir, modelFile), []byte(text))
	overwrite(t, filepath.Join(dir, "config.json"), []byte("{}"))
	return dir
}

func publish(t *testing.T, p Publisher, version, text, want string) {
	t.Helper()
	location, err := p.Publish(t.Context(), version, exportOf(t, text))
	if err != nil || !strings.HasSuffix(location, "exports/"+want) {
		t.Fatalf("publish %s: %q, %v, want %s", version, location, err, want)
	}
}

func TestPublishers(t *testing.T) {
	for name, make := range showcases {
		t.Run(name, func(t *testing.T) { publisherSuite(t, make) })
	}
}

func publisherSuite(t *testing.T, make func(t *testing.T) showcase) {
	for what, test := range map[string]func(*testing.T, showcase){
		"versions": testVersions, "keep": testKeepVersions, "refused": testRefused, "killed": testPublishKilled,
	} {
		t.Run(what, func(t *testing.T) { test(t, make(t)) })
	}
}

// A version never changes; the same bytes are used again.
func testVersions(t *testing.T, s showcase) {
	p := s.publisher(t, 0, nil)
	publish(t, p, "step-000000010", "a", "step-000000010")
	publish(t, p, "step-000000010", "a", "step-000000010")
	publish(t, p, "step-000000020", "b", "step-000000020")
	publish(t, p, "step-000000010", "c", "step-000000010-2")
	equal(t, "latest", s.latest(t), map[string]string{modelFile: "c", "config.json": "{}"})
	publish(t, p, "step-000000020", "b", "step-000000020")
	equal(t, "latest", s.latest(t)[modelFile], "b")
	equal(t, "versions", s.versions(t), []string{"step-000000010", "step-000000010-2", "step-000000020"})
}

func testKeepVersions(t *testing.T, s showcase) {
	for _, version := range []string{"a", "b", "c", "d"} { // by a process each
		publish(t, s.publisher(t, 2, nil), version, version, version)
		if l, ok := s.(localShowcase); ok { // so quick that their times may be equal
			at := int64(version[0])
			if err := os.Chtimes(filepath.Join(l.dir, version), time.Unix(at, 0), time.Unix(at, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	equal(t, "versions", s.versions(t), []string{"c", "d"})
	equal(t, "latest", s.latest(t)[modelFile], "d")
}

func testRefused(t *testing.T, s showcase) {
	p := s.publisher(t, 0, nil)
	for _, version := range []string{"", "latest", "../x", "a/b", ".hidden", "a.tmp", "a b", "."} {
		if _, err := p.Publish(t.Context(), version, exportOf(t, "x")); err == nil || !strings.Contains(err.Error(), "use letters") {
			t.Errorf("version %q: error %v", version, err)
		}
	}
	if _, err := p.Publish(t.Context(), "a", filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no export: error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Publish(ctx, "a", exportOf(t, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	if got := s.latest(t); got != nil {
		t.Errorf("latest: %v", got)
	}
}

// A process killed before latest changes leaves the older one, killed after it the new one; publishing again mends both.
func testPublishKilled(t *testing.T, s showcase) {
	publish(t, s.publisher(t, 1, nil), "a", "a", "a")
	for _, at := range []string{failpoint.PublishBefore, failpoint.PublishAfter} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was not hit", at)
				}
			}()
			p := s.publisher(t, 1, func(name string) {
				if name == at {
					panic(errKilled)
				}
			})
			_, _ = p.Publish(t.Context(), "b", exportOf(t, "b"))
		}()
		want := map[string]string{failpoint.PublishBefore: "a", failpoint.PublishAfter: "b"}[at]
		equal(t, "latest after "+at, s.latest(t)[modelFile], want)
	}
	publish(t, s.publisher(t, 1, nil), "b", "b", "b")
	equal(t, "versions", s.versions(t), []string{"b"})
}

// One that was fenced off changes nothing that readers see.
func TestS3PublisherIsFenced(t *testing.T) {
	b := newBucket()
	first := openS3(t, b, nil)
	p, err := NewS3Publisher(S3PublisherOptions{Client: b, Bucket: "b", Prefix: "runs/a", Check: first.Check})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, p, "v1", "a", "v1")
	var second *S3Store
	p.o.Point = func(name string) { // between the files and the pointer
		if name == failpoint.PublishBefore {
			second = openS3(t, b, nil)
		}
	}
	before := s3Showcase{b}.latest(t)
	if _, err := p.Publish(t.Context(), "v2", exportOf(t, "b")); !errors.Is(err, ErrFenced) {
		t.Errorf("error %v, want ErrFenced", err)
	}
	equal(t, "latest", s3Showcase{b}.latest(t), before)
	if err := second.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// Of two that publish at the same moment one is told that it lost, even without a check.
func TestS3PublishersCollide(t *testing.T) {
	b := newBucket()
	s := s3Showcase{b}
	publish(t, s.publisher(t, 0, nil), "v1", "a", "v1")
	p := s.publisher(t, 0, nil).(*S3Publisher)
	p.o.Check = func(context.Context) error { // the last moment before the pointer is put
		p.o.Check = func(context.Context) error {
			publish(t, s.publisher(t, 0, nil), "v3", "c", "v3")
			return nil
		}
		return nil
	}
	if _, err := p.Publish(t.Context(), "v2", exportOf(t, "b")); !errors.Is(err, ErrFenced) {
		t.Errorf("error %v, want ErrFenced", err)
	}
	equal(t, "latest", s.latest(t)[modelFile], "c")
}

func TestPublishLocal(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) func(string) error {
		return func(folder string) error { return os.WriteFile(filepath.Join(folder, modelFile), []byte(text), 0o644) }
	}
	if err := PublishLocal(dir, "v1", write("a")); err != nil {
		t.Fatal(err)
	}
	if err := PublishLocal(dir, "v1", write("b")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("again: error %v, want fs.ErrExist", err)
	}
	broken := errors.New("gate does not hold")
	if err := PublishLocal(dir, "v2", func(string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	l := localShowcase{dir}
	equal(t, "latest", l.latest(t), map[string]string{modelFile: "a"})
	equal(t, "versions", l.versions(t), []string{"v1"})
	if target, err := os.Readlink(filepath.Join(dir, latestName)); err != nil || target != "v1" {
		t.Errorf("latest points at %q, %v: it must be relative", target, err)
	}
}
