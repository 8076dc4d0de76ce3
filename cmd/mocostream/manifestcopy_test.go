package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/internal/s3server"
)

// A run whose checkpoints are in a bucket goes on from an empty folder, with the list of files as it was: one that came
// later changes nothing.
func TestRunGoesOnElsewhere(t *testing.T) {
	store := s3server.New(s3server.Options{})
	store.Put("runs", ".keep", nil)
	address, err := store.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	folder := images(t, 32, 1)
	settings := func(dir, steps string) []string {
		return append(tiny(dir, "ingest.dir="+folder, "train.steps="+steps), "--set", "sink.s3.url=s3://runs/one", "--set", "sink.s3.endpoint="+address,
			"--set", "sink.s3.path_style=true", "--set", "sink.s3.anonymous=true")
	}
	program(t, settings(filepath.Join(t.TempDir(), "here"), "3")...).want(t, exitOK)
	copied := false
	for _, key := range store.Keys("runs") {
		copied = copied || strings.HasPrefix(key, "one/manifests/") && strings.HasSuffix(key, ".manifest")
	}
	if !copied {
		t.Fatalf("the list is not in the bucket: %q", store.Keys("runs"))
	}
	some, err := filepath.Glob(filepath.Join(folder, "*", "*"))
	if err != nil || len(some) == 0 {
		some, _ = filepath.Glob(filepath.Join(folder, "*.*"))
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(some[0]), "zz-late.jpg"), read(t, some[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	program(t, append(settings(filepath.Join(t.TempDir(), "there"), "6"), "--accept-change")...).want(t, exitOK, "going on from checkpoint")
}
