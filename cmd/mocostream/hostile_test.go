package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mocostream/sink"
)

// hostile are files that a folder may hold, by name, and what the dead letters say of each.
func hostile(t *testing.T, good []byte) map[string]struct {
	data   []byte
	reason string
} {
	t.Helper()
	return map[string]struct {
		data   []byte
		reason string
	}{
		"truncated.jpg": {good[:len(good)*2/3], "truncated"},
		"empty.jpg":     {nil, "empty"},
		"text.jpg":      {[]byte("Dear sir or madam,\n"), "not_an_image"},
		"huge.jpg":      {claim(t, good, 30000, 30000), "side"},
		"scans.jpg":     {manyScans(t, 2000), "too_many_scans"},
	}
}

// claim rewrites the dimensions in the frame header of a baseline JPEG file.
func claim(t *testing.T, good []byte, width, height uint16) []byte {
	t.Helper()
	data := bytes.Clone(good)
	frame := bytes.Index(data, []byte{0xFF, 0xC0})
	if frame < 0 {
		t.Fatal("no baseline frame header")
	}
	binary.BigEndian.PutUint16(data[frame+5:], height)
	binary.BigEndian.PutUint16(data[frame+7:], width)
	return data
}

// manyScans repeats the last scan of a progressive file.
func manyScans(t *testing.T, n int) []byte {
	t.Helper()
	data := read(t, "../../augment/testdata/progressive.jpg")
	last := bytes.LastIndex(data, []byte{0xFF, 0xDA})
	return bytes.Join([][]byte{data[:last], bytes.Repeat(data[last:len(data)-2], n), {0xFF, 0xD9}}, nil)
}

// hostileFolder mixes the hostile files into 60 images.
func hostileFolder(t *testing.T) string {
	t.Helper()
	dir := images(t, 60, 1)
	for name, f := range hostile(t, read(t, filepath.Join(dir, "bar", "000000.jpg"))) {
		write(t, filepath.Join(dir, "bars", name), f.data)
	}
	return dir
}

// firstEpoch checks that the dead letters name each file with its reason, and returns the letters by the file's name.
func firstEpoch(t *testing.T, runDir string, want map[string]string) map[string]map[string]any {
	t.Helper()
	got := map[string]map[string]any{}
	for _, letter := range jsonLines(t, filepath.Join(runDir, "dead-letters.jsonl")) {
		got[filepath.Base(letter["key"].(string))] = letter
	}
	for name, reason := range want {
		letter := got[name]
		if letter == nil {
			t.Errorf("no dead letter of %s", name)
			continue
		}
		if letter["reason"] != reason || letter["detail"] == "" || len(letter["sha256"].(string)) != 64 {
			t.Errorf("dead letter of %s: %v, want reason %s", name, letter, reason)
		}
	}
	if len(got) != len(want) {
		t.Errorf("dead letters of %d files, want %d", len(got), len(want))
	}
	return got
}

func TestHostileFiles(t *testing.T) {
	dir := hostileFolder(t)
	runDir := filepath.Join(t.TempDir(), "run")
	o := program(t, tiny(runDir, "ingest.dir="+dir, "train.steps=16", "loader.max_bad_fraction=0.2")...)
	got := o.want(t, exitOK, "an image cannot be decoded and is skipped", "dead-letters.jsonl").object(t)
	if got["steps"] != 16.0 || got["samples"] != 128.0 || got["epoch"].(float64) < 2 {
		t.Errorf("printed %v", got)
	}
	if n := strings.Count(o.err, "cannot be decoded"); n != 1 {
		t.Errorf("%d log lines of bad images, want one for all", n)
	}
	files := hostile(t, read(t, filepath.Join(dir, "bar", "000000.jpg")))
	want := map[string]string{}
	for name, f := range files {
		want[name] = f.reason
	}
	for name, letter := range firstEpoch(t, runDir, want) {
		text, _ := letter["image"].(string)
		kept, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !bytes.Equal(kept, files[name].data) {
			t.Errorf("the dead letter of %s keeps %d bytes, the file has %d (%v)", name, len(kept), len(files[name].data), err)
		}
	}
	if lines := jsonLines(t, filepath.Join(runDir, "dead-letters.jsonl")); got["bad_images"] != float64(len(lines)) {
		t.Errorf("%d dead letters, printed %v", len(lines), got["bad_images"])
	}
}

const (
	mib         = 1 << 20
	junkBytes   = 8 * mib
	memoryLimit = 64 * mib
	// maxResident is twice memory_limit, since Go's collector lets the heap grow to twice what lives in it, and 192 MiB for
	// the program, this small encoder and its batches. It is half of what the files have.
	maxResident = 2*memoryLimit + 192*mib
)

// Half a gigabyte and more of junk among the images: what is resident depends on the limit, not on them.
func TestHostileFilesWithinMemory(t *testing.T) {
	dir := hostileFolder(t)
	want := map[string]string{"larger.jpg": "too_large_bytes"}
	for name, f := range hostile(t, read(t, filepath.Join(dir, "bar", "000000.jpg"))) {
		want[name] = f.reason
	}
	for i := range 2 * maxResident / junkBytes {
		name := fmt.Sprintf("junk%02d.jpg", i)
		sparse(t, filepath.Join(dir, name), junkBytes)
		want[name] = "not_an_image"
	}
	sparse(t, filepath.Join(dir, "larger.jpg"), 3*junkBytes)
	runDir, peak := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "peak")
	p := start(t, []string{peakEnv + "=" + peak}, tiny(runDir, "ingest.dir="+dir, "train.steps=9", "loader.max_bad_fraction=0.9",
		"loader.memory_limit="+strconv.Itoa(memoryLimit), "loader.limits.max_bytes=16MiB", "loader.store_images=false")...)
	p.wait(t).want(t, exitOK)
	for name, letter := range firstEpoch(t, runDir, want) {
		if _, has := letter["image"]; has {
			t.Errorf("the dead letter of %s keeps bytes", name)
		}
	}
	kb, err := strconv.Atoi(string(read(t, peak)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB resident at most", kb/1024)
	if kb*1024 > maxResident {
		t.Errorf("%d MiB resident at most, want %d", kb/1024, maxResident/mib)
	}
}

// sparse makes a file of zeros that takes no room on the disk.
func sparse(t *testing.T, path string, size int64) {
	t.Helper()
	write(t, path, nil)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func TestTooManyBad(t *testing.T) {
	dir := images(t, 90, 1)
	for i := range 15 {
		write(t, filepath.Join(dir, fmt.Sprintf("bad%02d.jpg", i)), []byte("junk"))
	}
	runDir := filepath.Join(t.TempDir(), "run")
	set := []string{"ingest.dir=" + dir, "train.steps=20", "sink.checkpoint_every=100"}
	program(t, tiny(runDir, set...)...).want(t, exitFailed, "cannot be decoded, more than loader.max_bad_fraction = 0.05", "raise loader.max_bad_fraction")
	folder, err := sink.Resolve(runDir, nil)
	if err != nil {
		t.Fatalf("no checkpoint after a stop: %v", err)
	}
	if lines := history(t, runDir); filepath.Base(folder) != fmt.Sprintf("step-%09d", len(lines)) {
		t.Errorf("newest checkpoint %s, %d lines of metrics", folder, len(lines))
	}

	set = append(set, "loader.max_bad_fraction=0.5")
	program(t, tiny(runDir, set...)...).want(t, exitUsage, "loader.max_bad_fraction: 0.5, was 0.05", "--accept-change")
	program(t, append(tiny(runDir, set...), "--accept-change")...).want(t, exitOK, filepath.Base(folder))
	positions := map[float64]bool{}
	for _, letter := range jsonLines(t, filepath.Join(runDir, "dead-letters.jsonl")) {
		position, _ := letter["position"].(float64)
		if positions[position] {
			t.Errorf("sample %v is recorded twice", position)
		}
		positions[position] = true
	}
	if lines := history(t, runDir); len(lines) != 20 || len(positions) < 15 {
		t.Errorf("%d lines of metrics, %d dead letters", len(lines), len(positions))
	}
}
