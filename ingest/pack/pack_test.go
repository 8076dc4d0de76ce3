package pack_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/ingest/pack"
	"mocostream/ingest/shards"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var formats = []string{pack.Tar, pack.Parquet, pack.Arrow}

// source has one sample a partition, as a folder does, and one partition of many.
func source(t testing.TB) *ingesttest.FakeBounded {
	var partitions [][]ingesttest.Sample
	for i := range 60 {
		s := ingesttest.Generate(int32(i), 1, 300+i*40)
		s[0].Key = fmt.Sprintf("class-%d/%03d", i%3, i)
		if i%4 != 3 {
			s[0].Label = new(int32(i%3 - 1))
		}
		partitions = append(partitions, s)
	}
	many := ingesttest.Generate(60, 40, 900)
	for i := range many {
		many[i].Key = fmt.Sprintf("many/%03d", i)
	}
	return ingesttest.NewFakeBounded(t, append(partitions, many)...)
}

// packed packs into a new folder.
func packed(t testing.TB, src ingest.Bounded, o pack.Options) (string, pack.Result) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	to, err := pack.Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	result, err := pack.Write(t.Context(), src, to, o)
	if err != nil {
		t.Fatal(err)
	}
	return dir, result
}

// unpacked reads shards back, in the order of their names.
func unpacked(t testing.TB, dir string) []ingesttest.Sample {
	t.Helper()
	warn := func(text string) { t.Errorf("warning: %s", text) }
	s, err := shards.New(shards.Options{Path: dir, ManifestDir: t.TempDir(), Labels: true, Warn: warn})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, err := s.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []ingesttest.Sample
	for p := range m.Len() {
		r, err := s.Read(t.Context(), p, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ingesttest.ReadAll(t.Context(), r)
		if r.Close(); err != nil {
			t.Fatal(err)
		}
		all = append(all, got...)
	}
	return all
}

func text(s ingesttest.Sample) string {
	label := "-"
	if s.Label != nil {
		label = fmt.Sprint(*s.Label)
	}
	return fmt.Sprintf("%s %s %x", s.Key, label, sha256.Sum256(s.Image))
}

func texts(samples []ingesttest.Sample) []string {
	var all []string
	for _, s := range samples {
		all = append(all, text(s))
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	src := source(t)
	for _, format := range formats {
		for name, o := range map[string]pack.Options{
			"one shard": {}, "small shards": {MaxShardBytes: 20_000}, "few samples": {MaxSamples: 7},
			"a sample each": {MaxShardBytes: 1},
		} {
			if o.MaxShardBytes == 1 && format != pack.Arrow {
				continue // 100 syncs are enough
			}
			o.Format, o.Labels = format, true
			dir, result := packed(t, src, o)
			if got, want := texts(unpacked(t, dir)), texts(src.Samples()); !slices.Equal(got, want) {
				t.Errorf("%s, %s: %d samples came back other than the %d packed", format, name, len(got), len(want))
			}
			if result.Samples != 100 || result.Skipped != 0 {
				t.Errorf("%s, %s: %+v", format, name, result)
			}
			checkShards(t, dir, result, o)
		}
	}
}

// checkShards compares what Write says with what lies in the folder.
func checkShards(t *testing.T, dir string, result pack.Result, o pack.Options) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(result.Shards)+1 {
		t.Fatalf("%d files for %d shards and an index, %v", len(entries), len(result.Shards), err)
	}
	if o.MaxShardBytes == 0 && o.MaxSamples == 0 && len(result.Shards) != 1 || o.MaxSamples > 0 && len(result.Shards) != 15 ||
		o.MaxShardBytes == 1 && len(result.Shards) != 100 {
		t.Errorf("%+v gave %d shards", o, len(result.Shards))
	}
	for i, e := range result.Shards {
		content, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("train-%06d.%s", i, o.Format)))
		if err != nil || int64(len(content)) != e.Size || fmt.Sprintf("%x", sha256.Sum256(content)) != e.SHA256 {
			t.Errorf("shard %d is not as %+v, %v", i, e, err)
		}
		if o.MaxShardBytes > 1 && e.Size > o.MaxShardBytes+4096 {
			t.Errorf("shard %d has %d bytes, more than %d", i, e.Size, o.MaxShardBytes)
		}
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, e := range must(os.ReadDir(dir))(t) {
		all[e.Name()] = string(must(os.ReadFile(filepath.Join(dir, e.Name())))(t))
	}
	return all
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestSameBytes(t *testing.T) {
	for _, format := range formats {
		o := pack.Options{Format: format, Labels: true, Shuffle: true, Seed: 5, MaxShardBytes: 30_000}
		first, _ := packed(t, source(t), o)
		second, _ := packed(t, source(t), o)
		if !maps.Equal(files(t, first), files(t, second)) {
			t.Errorf("%s: packed twice, the bytes differ", format)
		}
		o.Seed = 6
		third, _ := packed(t, source(t), o)
		got, other := texts(unpacked(t, first)), texts(unpacked(t, third))
		if slices.Equal(got, other) {
			t.Errorf("%s: another seed gives the same order", format)
		}
		want := texts(source(t).Samples())
		for _, order := range [][]string{got, other, want} {
			slices.Sort(order)
		}
		if !slices.Equal(got, want) || !slices.Equal(other, want) {
			t.Errorf("%s: shuffling loses samples", format)
		}
	}
}

func TestIndexAgrees(t *testing.T) {
	for _, format := range formats {
		dir, result := packed(t, source(t), pack.Options{Format: format, MaxSamples: 30})
		before := files(t, dir)[pack.IndexName]
		entries, err := pack.Index(t.Context(), dir)
		if err != nil || !slices.Equal(entries, result.Shards) {
			t.Errorf("%s: index finds %v, %v; written were %v", format, entries, err, result.Shards)
		}
		if after := files(t, dir)[pack.IndexName]; after != before {
			t.Errorf("%s: index is %s, was %s", format, after, before)
		}
	}
	if _, err := pack.Index(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "no tar, Parquet or Arrow file") {
		t.Errorf("index of nothing: %v", err)
	}
	if _, err := pack.Index(t.Context(), filepath.Join(t.TempDir(), "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("index of a missing folder: %v", err)
	}
}

// Keys that a tar cannot have stay apart, and inside.
func TestKeysInTar(t *testing.T) {
	keys := map[string]string{
		"a/b.jpg": "a/b", "a/b.png": "a/b-2", "a/b.JPEG": "a/b-3", "c.d.e.jpg": "c_d_e", "../../etc/passwd": "etc/passwd",
		"/root/x.webp": "root/x", "a\nb": "a_b", "": "_", "dots...": "dots___",
	}
	order := []string{"a/b.jpg", "a/b.png", "a/b.JPEG", "c.d.e.jpg", "../../etc/passwd", "/root/x.webp", "a\nb", "", "dots..."}
	var samples []ingesttest.Sample
	for i, key := range order {
		samples = append(samples, ingesttest.Generate(0, i+1, 100)[i])
		samples[i].Key = key
	}
	dir, _ := packed(t, ingesttest.NewFakeBounded(t, samples), pack.Options{})
	got := unpacked(t, dir)
	if len(got) != len(order) {
		t.Fatalf("%d samples of %d came back", len(got), len(order))
	}
	for i, s := range got {
		if s.Key != keys[order[i]] || !bytes.Equal(s.Image, samples[i].Image) {
			t.Errorf("%q came back as %q", order[i], s.Key)
		}
	}
}

func TestSkipped(t *testing.T) {
	samples := ingesttest.Generate(0, 3, 100)
	samples[0].Problem = "the row's image is null"
	samples[2].Image = make([]byte, 101)
	var told []string
	o := pack.Options{MaxBytes: 100, Skipped: func(key, reason string) { told = append(told, key+": "+reason) }}
	dir, result := packed(t, ingesttest.NewFakeBounded(t, samples), o)
	if want := []string{"0/0.jpg: the row's image is null", "0/2.jpg: it has more than 100 bytes"}; !slices.Equal(told, want) || result.Skipped != 2 {
		t.Errorf("left out %q (%d), want %q", told, result.Skipped, want)
	}
	if got := unpacked(t, dir); len(got) != 1 || got[0].Key != "0/1" {
		t.Errorf("packed %v", got)
	}
	to := must(pack.Folder(t.TempDir()))(t)
	if _, err := pack.Write(t.Context(), ingesttest.NewFakeBounded(t, samples[:1]), to, pack.Options{}); err == nil {
		t.Error("nothing to pack is no error")
	}
}

func TestWrongOptions(t *testing.T) {
	to := must(pack.Folder(t.TempDir()))(t)
	for want, o := range map[string]pack.Options{
		"format \"zip\"":     {Format: "zip"},
		"positive limits":    {MaxShardBytes: -1},
		"one %d":             {Pattern: "train"},
		"does not name":      {Pattern: "a/%d"},
		"\"%d-%d\" does not": {Pattern: "%d-%d"},
		"largest image":      {MaxBytes: 1 << 40},
	} {
		if _, err := pack.Write(t.Context(), source(t), to, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
}

func TestFolderWithShards(t *testing.T) {
	dir, _ := packed(t, source(t), pack.Options{})
	if _, err := pack.Folder(dir); err == nil || !strings.Contains(err.Error(), "index.jsonl") {
		t.Errorf("a folder with shards: %v", err)
	}
}

// What fails leaves nothing half-way behind.
func TestAbort(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, format := range formats {
		src := source(t)
		src.Before = func(_ context.Context, next ingest.ID) error {
			if next.Partition == 50 {
				return broken
			}
			return nil
		}
		dir := t.TempDir()
		to := must(pack.Folder(dir))(t)
		result, err := pack.Write(t.Context(), src, to, pack.Options{Format: format, MaxSamples: 20})
		if !errors.Is(err, broken) || len(result.Shards) != 2 {
			t.Errorf("%s: %v, %d shards", format, err, len(result.Shards))
		}
		if left := must(os.ReadDir(dir))(t); len(left) != 2 {
			t.Errorf("%s: left %v", format, left)
		}
	}
}

// stored is a bucket in memory.
func stored(t *testing.T, fail error) (pack.Destination, map[string]string) {
	objects := map[string]string{}
	return pack.Upload(t.TempDir(), func(_ context.Context, name string, body io.ReadSeeker) error {
		if len(objects) == 2 && fail != nil {
			return fail
		}
		content, err := io.ReadAll(body)
		objects[name] = string(content)
		return err
	}), objects
}

func TestUpload(t *testing.T) {
	o := pack.Options{Format: pack.Parquet, MaxSamples: 30, Labels: true}
	dir, _ := packed(t, source(t), o)
	to, objects := stored(t, nil)
	if _, err := pack.Write(t.Context(), source(t), to, o); err != nil || !maps.Equal(objects, files(t, dir)) {
		t.Errorf("uploaded are %d objects other than the folder's, %v", len(objects), err)
	}
	broken := errors.New("bucket on fire")
	to, objects = stored(t, broken)
	result, err := pack.Write(t.Context(), source(t), to, o)
	if !errors.Is(err, broken) || len(result.Shards) != 2 || objects[pack.IndexName] != "" {
		t.Errorf("a failing bucket: %v, %d shards", err, len(result.Shards))
	}
}
