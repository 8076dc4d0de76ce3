package shards_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	packing "mocostream/ingest/pack"
	"mocostream/ingest/shards"
)

// table packs samples into one shard of a format.
func table(t testing.TB, format string, samples []ingesttest.Sample) []byte {
	t.Helper()
	dir := t.TempDir()
	to, err := packing.Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := packing.Options{Format: format, Labels: true}
	if _, err := packing.Write(t.Context(), ingesttest.NewFakeBounded(t, samples), to, o); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "train-000000."+format))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Tables keep the contract as tar files do, side by side with them.
func TestConformanceOfTables(t *testing.T) {
	first, second := generate(t, 0, 66, 100, false), generate(t, 1, 9, 200<<10, false)
	third := generate(t, 2, 5, 30, false)
	all := []content{
		{table(t, packing.Arrow, first.want), first.want}, {table(t, packing.Parquet, second.want), second.want}, third,
	}
	ingesttest.TestBounded(t, func(t *testing.T) (ingest.Bounded, []ingesttest.Sample) {
		root := t.TempDir()
		for i, name := range []string{"0.arrow", "1.parquet", "2.tar"} {
			store(t, filepath.Join(root, name), all[i].tar)
		}
		s := open(t, shards.Options{Path: root, Labels: true})
		m, err := s.Manifest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var want []ingesttest.Sample
		for p, c := range all {
			for _, s := range c.want {
				s.Source, s.Partition = m.Hash(), int32(p)
				want = append(want, s)
			}
		}
		return s, want
	})
}

// indexed stores two shards and their index.
func indexed(t *testing.T) (root string) {
	root = t.TempDir()
	store(t, filepath.Join(root, "a.tar"), generate(t, 0, 3, 10, false).tar)
	store(t, filepath.Join(root, "sub", "b.tar"), generate(t, 1, 4, 10, false).tar)
	if _, err := packing.Index(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	return root
}

func manifest(t *testing.T, root string, warn func(string)) (*shards.Source, *ingest.Manifest) {
	t.Helper()
	s := open(t, shards.Options{Path: root, Warn: warn})
	m, err := s.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s, m
}

// An index is believed, and the reader notices where it lies.
func TestIndexSavesCounting(t *testing.T) {
	root := indexed(t)
	path := filepath.Join(root, packing.IndexName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	store(t, path, []byte(strings.Replace(string(text), `"samples":3`, `"samples":5`, 1)))
	s, m := manifest(t, root, func(text string) { t.Errorf("warned: %s", text) })
	if m.Samples() != 9 {
		t.Errorf("%d samples listed, want those of the index", m.Samples())
	}
	if _, err := read(t, s, 0); err == nil || !strings.Contains(err.Error(), "5 samples are listed, it has 3") {
		t.Errorf("a lying index: %v", err)
	}
	if got, err := read(t, s, 1); err != nil || len(got) != 4 {
		t.Errorf("the other shard: %d samples, %v", len(got), err)
	}
}

// An index that is out of date, or damaged, is said to be and not believed.
func TestStaleIndex(t *testing.T) {
	for name, test := range map[string]struct {
		file    string
		content []byte
		want    string
	}{
		"shard changed": {"a.tar", generate(t, 0, 40, 500, false).tar, "a.tar has"},
		"damaged":       {packing.IndexName, []byte("{"), "line 1"},
	} {
		root := indexed(t)
		store(t, filepath.Join(root, test.file), test.content)
		var told []string
		_, m := manifest(t, root, func(text string) { told = append(told, text) })
		if len(told) != 1 || !strings.Contains(told[0], test.want) || !strings.Contains(told[0], "mocostream index") {
			t.Errorf("%s: warned %q, want %q once", name, told, test.want)
		}
		if want := map[string]int64{"shard changed": 44, "damaged": 7}[name]; m.Samples() != want {
			t.Errorf("%s: %d samples, want %d", name, m.Samples(), want)
		}
	}
}

// Packed shards are read without counting them.
func TestPackedShardsNeedNoCounting(t *testing.T) {
	dir := t.TempDir()
	to, err := packing.Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	src := ingesttest.NewFakeBounded(t, ingesttest.Generate(0, 10, 100))
	if _, err := packing.Write(t.Context(), src, to, packing.Options{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "train-000000.tar")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	store(t, path, make([]byte, info.Size())) // nobody looks into it
	if _, m := manifest(t, dir, nil); m.Samples() != 10 {
		t.Errorf("%d samples", m.Samples())
	}
}

// The context of Read is that call's alone.
func TestReaderOutlivesItsOpening(t *testing.T) {
	s, _ := one(t, generate(t, 0, 70, 10, false).tar, shards.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Read(ctx, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if got, err := ingesttest.ReadAll(t.Context(), r); err != nil || len(got) != 70 {
		t.Errorf("%d samples, %v", len(got), err)
	}
}
