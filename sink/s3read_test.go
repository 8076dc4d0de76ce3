package sink

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

func TestResolveS3(t *testing.T) {
	b, cache := newBucket(), t.TempDir()
	if _, err := ResolveS3(t.Context(), b, "s3://b/runs/a", cache, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: error %v, want fs.ErrNotExist", err)
	}
	s := openS3(t, b, nil)
	if _, err := ResolveS3(t.Context(), b, "s3://b/runs/a", cache, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a claim alone: error %v, want fs.ErrNotExist", err)
	}
	put(t, s, checkpoint(1, 1), checkpoint(2, 2))
	before := b.keys("")
	for url, want := range map[string]float32{
		"s3://b/runs/a": 2, "s3://b/runs/a/": 2, "s3://b/runs/a/step-000000001": 1, "s3://b/runs/a/" + s.tip.known.Checkpoint.Folder: 2,
	} {
		folder, err := ResolveS3(t.Context(), b, url, cache, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Read(folder)
		if err != nil || mark(t, c) != want || filepath.Dir(folder) != cache {
			t.Errorf("%s: %s, %v", url, folder, err)
		}
	}
	for url, want := range map[string]string{
		"s3://b/runs/a/step-000000009": "holds none", "runs/a": "s3://bucket/prefix", "s3://": "no bucket",
	} {
		if _, err := ResolveS3(t.Context(), b, url, cache, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", url, err, want)
		}
	}
	equal(t, "objects", b.keys(""), before)
	equal(t, "cache", folders(t, cache), names(1, 2))
}

// A copy that agrees is not fetched again, and one that was damaged is.
func TestResolveS3UsesTheCopy(t *testing.T) {
	b, cache := newBucket(), t.TempDir()
	put(t, openS3(t, b, nil), checkpoint(1, 1))
	fetched := 0
	b.fault = func(verb, key string) (error, bool) {
		if verb == "get" && strings.Contains(key, "/step-") {
			fetched++
		}
		return nil, false
	}
	for _, want := range []int{3, 3, 6} {
		if want == 6 {
			overwrite(t, filepath.Join(cache, stepName(1), modelFile), []byte("torn"))
		}
		folder, err := ResolveS3(t.Context(), b, "s3://b/runs/a", cache, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(folder); err != nil || fetched != want {
			t.Errorf("fetched %d objects, want %d; %v", fetched, want, err)
		}
	}
}

// A checkpoint that is pruned while it is read is not damage: the one that replaced it is read, and nobody is warned.
func TestResolveS3WhileTheRunPrunes(t *testing.T) {
	b := newBucket()
	s := openS3(t, b, func(o *S3Options) { o.Keep = 1 })
	put(t, s, checkpoint(1, 1))
	once := false
	b.fault = func(verb, key string) (error, bool) {
		if verb == "get" && strings.HasSuffix(key, modelFile) && !once {
			once = true
			put(t, s, checkpoint(2, 2))
		}
		return nil, false
	}
	folder, err := ResolveS3(t.Context(), b, "s3://b/runs/a", t.TempDir(), func(text string) { t.Error(text) })
	if err != nil || filepath.Base(folder) != stepName(2) {
		t.Errorf("%s, %v", folder, err)
	}
}

// A damaged object is named, and its checkpoint passed over.
func TestResolveS3Damaged(t *testing.T) {
	h := &s3Shelf{bucket: newBucket(), cache: t.TempDir()}
	s, _ := h.open(t, Options{})
	put(t, s, checkpoint(1, 1), checkpoint(2, 2))
	h.damage(t, 2, optimizerFile, func(b []byte) []byte { b[7] ^= 1; return b })
	var told warnings
	folder, err := ResolveS3(t.Context(), h.bucket, "s3://b/runs/a", t.TempDir(), told.add)
	if err != nil || filepath.Base(folder) != stepName(1) || len(told) != 1 || !strings.Contains(told[0], optimizerFile) {
		t.Errorf("%s, %v, told %q", folder, err, told)
	}
	_, err = ResolveS3(t.Context(), h.bucket, "s3://b/runs/a/step-000000002", t.TempDir(), nil)
	if !errors.Is(err, ErrTorn) {
		t.Errorf("that very step: error %v, want ErrTorn", err)
	}
}
