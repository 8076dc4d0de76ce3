package s3

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestKnown(t *testing.T) {
	dir := t.TempDir()
	scan := func(keys ...string) (found []string) {
		k, err := openKnown(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer k.close()
		for _, key := range keys {
			is, err := k.take(key)
			if err != nil {
				t.Fatal(err)
			}
			if is {
				found = append(found, key)
			}
		}
		if err := k.replace(); err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, step := range []struct{ keys, found []string }{
		{[]string{"a", "ab", "b"}, nil},
		{[]string{"aa", "ab", "abc", "b", "c"}, []string{"ab", "b"}},
		{[]string{"aa", "c"}, []string{"aa", "c"}},
		{nil, nil},
		{[]string{"c"}, nil},
	} {
		if found := scan(step.keys...); !slices.Equal(found, step.found) {
			t.Errorf("of %q %q are known, want %q", step.keys, found, step.found)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, knownFile), []byte{9, 9, 'x'}, 0o600); err != nil {
		t.Fatal(err)
	}
	if found := scan("c"); len(found) > 0 {
		t.Errorf("a damaged list knows %q", found)
	}
	if found := scan("c"); len(found) != 1 {
		t.Errorf("after it %q are known", found)
	}
}

func FuzzKnown(f *testing.F) {
	f.Add(appendKey(appendKey(nil, "", "abc"), "abc", "abd"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, key := bufio.NewReader(bytes.NewReader(raw)), ""
		for range 100 {
			next, err := readKey(r, key)
			if err != nil {
				return
			}
			if len(next) > len(key)+longestKey {
				t.Fatalf("a key of %d bytes", len(next))
			}
			key = next
		}
	})
}
