package shard_test

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"mocostream/ingest/internal/shard"
)

func TestIndex(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	entries := []shard.Entry{
		{Name: "b/<ü>.tar", Size: 5, Samples: 6, SHA256: sum, ETag: `"x-1"`}, {Name: "a.parquet", Size: 1, Samples: 2, SHA256: sum},
	}
	var out bytes.Buffer
	if err := shard.WriteIndex(&out, entries); err != nil {
		t.Fatal(err)
	}
	want := `{"name":"a.parquet","size":1,"samples":2,"sha256":"` + sum + `"}
{"name":"b/<ü>.tar","size":5,"samples":6,"sha256":"` + sum + `","etag":"\"x-1\""}
`
	if out.String() != want {
		t.Errorf("wrote\n%s, want\n%s", out.String(), want)
	}
	got, err := shard.ReadIndex(&out)
	if err != nil || !maps.Equal(got, map[string]shard.Entry{"a.parquet": entries[1], "b/<ü>.tar": entries[0]}) {
		t.Errorf("read %v, %v", got, err)
	}
	if n, ok, err := shard.CountOf(got, "a.parquet", 1); n != 2 || !ok || err != nil {
		t.Errorf("count is %d, %v, %v", n, ok, err)
	}
	if _, ok, err := shard.CountOf(got, "a.parquet", 3); ok || !errors.Is(err, shard.ErrStale) {
		t.Errorf("another size: %v, %v", ok, err)
	}
	if _, ok, err := shard.CountOf(got, "c.tar", 3); ok || err != nil {
		t.Errorf("not listed: %v, %v", ok, err)
	}
}

func TestDamagedIndex(t *testing.T) {
	for text, want := range map[string]string{
		"{":                                  "line 1",
		"\n{}":                               "line 2: a name of 0 bytes",
		`{"name":"a","size":-1}`:             `"a" has -1 bytes`,
		`{"name":"a","samples":-2}`:          "-2 samples",
		`{"name":"a","sha256":"abc"}`:        "no SHA-256",
		"{\"name\":\"a\"}\n{\"name\":\"a\"}": "listed twice",
		`{"name":"` + strings.Repeat("x", 1<<20) + `"}`: "token too long",
		`{"name":"` + strings.Repeat("x", 1<<17) + `"}`: "a name of 131072 bytes",
	} {
		if got, err := shard.ReadIndex(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, %v; want %q", text, got, err, want)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(`{"name":"a.tar","size":1,"samples":2,"sha256":""}`)
	f.Add("{}\n\n[]")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := shard.ReadIndex(strings.NewReader(text))
		if err != nil {
			return
		}
		for name, e := range entries {
			if name != e.Name || name == "" || e.Samples < 0 {
				t.Errorf("%q is %v", name, e)
			}
		}
	})
}
