package objects_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

func list(t *testing.T, c *objects.Client, prefix, after string) []string {
	t.Helper()
	var keys []string
	for o, err := range c.List(t.Context(), bucket, prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func TestListInOrder(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	var want []string
	for i := range 2345 {
		want = append(want, fmt.Sprintf("d/%05d.jpg", i))
	}
	odd := []string{"d/ space", "d/+plus", "d/%25", "d/\x01control", "d/ä/日本", "d/a&b<c>"}
	want = append(want, odd...)
	for _, key := range want {
		s.Put(bucket, key, []byte(key))
	}
	s.Put(bucket, "e", nil)
	slices.Sort(want)
	n := 0
	f.set(func(*http.Request) *s3server.Fault { // every page has to be asked for three times
		if n++; n%3 != 0 {
			return &s3server.Fault{Status: 503, Code: "SlowDown"}
		}
		return nil
	})
	if got := list(t, c, "d/", ""); !slices.Equal(got, want) {
		t.Errorf("listed %d keys, want %d in order", len(got), len(want))
	}
	if n != 9 {
		t.Errorf("%d requests for three pages, want 9", n)
	}
	if got := list(t, c, "d/", want[2000]); !slices.Equal(got, want[2001:]) {
		t.Errorf("after %q: listed %d keys, want %d", want[2000], len(got), len(want)-2001)
	}
	if got := list(t, c, "nothing/", ""); got != nil {
		t.Errorf("listed %q", got)
	}
	for _, key := range odd {
		if o := stat(t, c, key); o.Size != int64(len(key)) {
			t.Errorf("%q has %d bytes", key, o.Size)
		}
	}
}

func TestListTakesUpTruncatedPages(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	for i := range 100 {
		s.Put(bucket, fmt.Sprintf("d/%03d", i), nil)
	}
	f.set(first(5, "", s3server.Fault{Truncate: true, At: 2000}))
	if got := list(t, c, "d/", ""); len(got) != 100 {
		t.Errorf("listed %d keys, want 100", len(got))
	}
}

func TestListStopsWhenTheCallerDoes(t *testing.T) {
	s, c, _ := start(t, s3server.Options{}, objects.Options{})
	for i := range 1500 {
		s.Put(bucket, fmt.Sprintf("d/%05d", i), nil)
	}
	before := s.Requests()
	for range c.List(t.Context(), bucket, "d/", "") {
		break
	}
	if got := s.Requests() - before; got != 1 {
		t.Errorf("%d requests for the first page", got)
	}
}

func TestMissing(t *testing.T) {
	_, c, _ := start(t, s3server.Options{}, objects.Options{})
	_, err := c.Stat(t.Context(), bucket, "absent")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "s3://imgs/absent") {
		t.Errorf("Stat: %v", err)
	}
	if _, err := readFrom(t.Context(), c, objects.Object{Key: "absent", Size: 3}, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get: %v", err)
	}
	for _, err := range c.List(t.Context(), "nowhere", "", "") {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "create the bucket or correct its name") {
			t.Errorf("List: %v", err)
		}
	}
	if err := c.Delete(t.Context(), bucket, "absent"); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

func TestDelete(t *testing.T) {
	s, c, _ := start(t, s3server.Options{}, objects.Options{})
	var keys []string
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("d/%d", i))
		s.Put(bucket, keys[i], nil)
	}
	if err := c.Delete(t.Context(), bucket, keys...); err != nil {
		t.Fatal(err)
	}
	if got := s.Keys(bucket); !slices.Equal(got, []string{"present"}) {
		t.Errorf("left %q", got)
	}
}
