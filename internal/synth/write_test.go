package synth_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mocostream/internal/synth"
)

var small = synth.Options{Classes: 5, Images: 23, Size: 32, Seed: 7}

func TestWriteDirIsTheSameForAnyWorkers(t *testing.T) {
	one, many := t.TempDir(), filepath.Join(t.TempDir(), "made", "on", "the", "way")
	mustWriteDir(t, one, 1)
	mustWriteDir(t, many, 3)
	got := readTree(t, one)
	if !maps.Equal(got, readTree(t, many)) {
		t.Error("three workers wrote other files than one")
	}
	if len(got) != small.Images+1 {
		t.Errorf("%d files, want %d images and the record", len(got), small.Images)
	}
	names := synth.ClassNames(small.Classes)
	for i := range small.Images {
		name := fmt.Sprintf("%s/%06d.jpg", names[i%small.Classes], i)
		config, err := jpeg.DecodeConfig(strings.NewReader(got[name]))
		if err != nil || config.Width != small.Size || config.Height != small.Size {
			t.Errorf("%s: %d x %d, %v; want %d x %d", name, config.Width, config.Height, err, small.Size, small.Size)
		}
	}
}

func TestWriteDirFinishesAnInterruptedSet(t *testing.T) {
	dir := t.TempDir()
	mustWriteDir(t, dir, 2)
	want := readTree(t, dir)

	kept := filepath.Join(dir, "bar", "000000.jpg")
	before := mustStat(t, kept)
	must(t, os.Remove(filepath.Join(dir, "bars", "000001.jpg")))
	must(t, os.Truncate(filepath.Join(dir, "cross", "000003.jpg"), 200))
	must(t, os.Truncate(filepath.Join(dir, "cross", "000008.jpg"), 0))
	must(t, os.WriteFile(filepath.Join(dir, "bars", "000001.jpg.tmp"), []byte("half"), 0o644))
	must(t, os.RemoveAll(filepath.Join(dir, "disc")))
	mustWriteDir(t, dir, 2)

	if !maps.Equal(readTree(t, dir), want) {
		t.Error("the finished set differs from the uninterrupted one")
	}
	if !os.SameFile(before, mustStat(t, kept)) {
		t.Error("a whole image was written again")
	}
}

func TestWriteDirEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if err := synth.WriteDir(ctx, dir, small, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	mustWriteDir(t, dir, 2) // what it left is no obstacle
	path := filepath.Join(dir, "set.tar")
	if err := synth.WriteTar(ctx, path, small); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	for _, left := range []string{path, path + ".tmp"} {
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an interrupted tar left %s behind", left)
		}
	}
}

func TestWriteDirKeepsOffWhatIsNotIts(t *testing.T) {
	dir := t.TempDir()
	mustWriteDir(t, dir, 1)
	other := small
	other.Seed++
	want := "draw images into " + dir + ": it holds 23 images of 5 classes, 32 px, seed 7, not 23 images of 5 classes, " +
		"32 px, seed 8; remove it or choose another folder"
	if err := synth.WriteDir(t.Context(), dir, other, 1); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}

	foreign := t.TempDir()
	must(t, os.WriteFile(filepath.Join(foreign, "holiday.jpg"), nil, 0o644))
	want = "draw images into " + foreign + ": it holds holiday.jpg, which is not of a drawn set; choose an empty folder"
	if err := synth.WriteDir(t.Context(), foreign, small, 1); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := readTree(t, foreign); len(got) != 1 {
		t.Errorf("the foreign folder holds %d files, want it as it was", len(got))
	}

	must(t, os.WriteFile(filepath.Join(dir, ".synth.json"), []byte("{"), 0o644))
	if err := synth.WriteDir(t.Context(), dir, small, 1); err == nil || !strings.Contains(err.Error(), "draw it again") {
		t.Errorf("got %v, want a broken record named with its remedy", err)
	}
}

func TestWritersRejectBadOptions(t *testing.T) {
	const want = "draw images: classes is 0; choose 1 to 12"
	path := filepath.Join(t.TempDir(), "set")
	bad := synth.Options{Images: 1, Size: 32}
	for _, err := range []error{synth.WriteDir(t.Context(), path, bad, 1), synth.WriteTar(t.Context(), path, bad)} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("bad options left something behind")
	}
}

func TestWriteTarHoldsTheImagesOfTheFolder(t *testing.T) {
	opts := small
	opts.Images = 300 // more than one round of drawing, whatever the CPUs up to 32
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "made", "set.tar")
	must(t, synth.WriteDir(t.Context(), dir, opts, 2))
	must(t, synth.WriteTar(t.Context(), path, opts))
	first, err := os.ReadFile(path)
	must(t, err)
	must(t, synth.WriteTar(t.Context(), path, opts))
	again, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(first, again) {
		t.Error("the same set gave another tar")
	}

	files, names := readTree(t, dir), synth.ClassNames(opts.Classes)
	tr := tar.NewReader(bytes.NewReader(first))
	for i := range opts.Images {
		class := i % opts.Classes
		image, label := nextEntry(t, tr, fmt.Sprintf("%06d.jpg", i)), nextEntry(t, tr, fmt.Sprintf("%06d.cls", i))
		if image != files[fmt.Sprintf("%s/%06d.jpg", names[class], i)] {
			t.Errorf("image %d differs between tar and folder", i)
		}
		if label != strconv.Itoa(class) {
			t.Errorf("image %d has label %q, want %d", i, label, class)
		}
	}
	if _, err := tr.Next(); err != io.EOF {
		t.Errorf("after the last image: %v, want %v", err, io.EOF)
	}
}

func nextEntry(t *testing.T, tr *tar.Reader, name string) string {
	t.Helper()
	header, err := tr.Next()
	must(t, err)
	if header.Name != name || header.ModTime.Unix() != 0 || header.Uid != 0 || header.Uname != "" || header.Mode != 0o644 {
		t.Fatalf("entry %+v, want %s without time or owner", header, name)
	}
	data, err := io.ReadAll(tr)
	must(t, err)
	return string(data)
}

func mustWriteDir(t *testing.T, dir string, workers int) {
	t.Helper()
	must(t, synth.WriteDir(t.Context(), dir, small, workers))
}

// readTree returns the contents of all files under dir, by slash-separated path.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(data)
		return err
	}))
	return files
}

func mustStat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
