package s3

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/internal/s3server"
)

func fetcher(t testing.TB, b *bucket, o FetcherOptions) *Fetcher {
	t.Helper()
	o.Client, o.Allocator = b.client(t), checked(t)
	f, err := NewFetcher(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFetch(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	etag := b.Put("photos", "in/a b+ü.jpg", []byte("0123456789"))
	f := fetcher(t, b, FetcherOptions{Allow: []string{"photos"}, MaxBytes: 9})
	b.misbehave(func(r *http.Request) *s3server.Fault {
		if b.Requests()%2 == 0 {
			return &s3server.Fault{Truncate: true, At: 3}
		}
		return nil
	})
	for _, known := range []struct {
		etag string
		size int64
	}{{"", 0}, {etag, 10}, {strings.Trim(etag, `"`), 10}, {"", 10}, {etag, 0}} {
		got, err := f.Fetch(t.Context(), "photos", "in/a b+ü.jpg", "", known.etag, known.size)
		if err != nil || string(got) != "0123456789" {
			t.Errorf("%v: %q, %v", known, got, err)
		}
	}
	b.misbehave(nil)
	b.Put("photos", "large.jpg", make([]byte, 1000))
	if got, err := f.Fetch(t.Context(), "photos", "large.jpg", "", "", 0); err != nil || len(got) != 10 {
		t.Errorf("a large image is %d bytes, %v", len(got), err)
	}
	for name, known := range map[string]struct {
		etag string
		size int64
	}{"etag": {`"other"`, 10}, "size": {"", 11}, "both": {"other", 11}} {
		if _, err := f.Fetch(t.Context(), "photos", "in/a b+ü.jpg", "", known.etag, known.size); !errors.Is(err, ingest.ErrChanged) {
			t.Errorf("other %s: %v", name, err)
		}
	}
	if _, err := f.Fetch(t.Context(), "photos", "gone.jpg", "", etag, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

func TestFetchShard(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	b.Put("photos", "a.tar", tarOf(t, "x", 3, 100))
	f := fetcher(t, b, FetcherOptions{Allow: []string{"photos/*"}, Labels: true})
	if !IsShard("a.tar") || IsShard("a.jpg") {
		t.Error("shards are not told")
	}
	r, err := f.Open(t.Context(), "photos", "a.tar", "", "", 0, func(sample int64) ingest.Row {
		return ingest.Row{ID: ingest.ID{Source: "topic", Offset: 7, Item: int32(sample)}, Items: ingest.ManyItems}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := ingesttest.ReadAll(t.Context(), r)
	if err != nil || len(got) != 3 || got[2].Items != 3 || got[0].Items != ingest.ManyItems || *got[1].Label != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAllow(t *testing.T) {
	rules, err := parseRules([]string{"photos", "s3://mixed/in/train-*", "mixed/one", "mixed/deep/folder/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range [][2]string{
		{"photos", "a.jpg"}, {"photos", "deep/100% sure.jpg"}, {"photos", "a..b/c...jpg"}, {"mixed", "in/train-1/x.jpg"},
		{"mixed", "one"}, {"mixed", "one/a.jpg"}, {"mixed", "deep/folder/x"}, {"photos", "50%25.jpg"},
	} {
		if err := allowed(rules, good[0], good[1]); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range [][2]string{
		{"other", "a.jpg"}, {"photos2", "a.jpg"}, {"PHOTOS", "a.jpg"}, {"", "a.jpg"}, {"photos", ""}, {"photos/../other", "a.jpg"},
		{"mixed", "in/val-1.jpg"}, {"mixed", "one2"}, {"mixed", "oneself/a.jpg"}, {"mixed", "deep/folder"},
		{"mixed", "in/train-/../secret.jpg"}, {"mixed", "one/../secret"}, {"mixed", "one/%2e%2e/secret"},
		{"mixed", "one/%252e%252e/secret"}, {"mixed", "one/..%2fsecret"}, {"mixed", "one//../../x"}, {"mixed", "one/./x"},
		{"photos", "/etc/passwd"}, {"photos", "a//b"}, {"photos", `a\..\b`}, {"photos", "a\x00b"}, {"photos", "a\nb"},
		{"photos", "a/.."}, {"photos", ".."}, {"photos", "%25252525252e%25252525252e/x"}, {"photos", "a\xffb"},
		{"photos?versions", "a"}, {"photos#", "a"}, {"..", "a"}, {"photos", "..%5csecret"},
	} {
		err := allowed(rules, bad[0], bad[1])
		if !errors.Is(err, ErrNotAllowed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "a", "bucket/a*b", "buc*", "bucket/../x", "bucket//", "s3://"} {
		if _, err := parseRules([]string{bad}); err == nil {
			t.Errorf("%q is a rule", bad)
		}
	}
}

func TestNotAllowedIsNotAsked(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	b.Put("secret", "a.jpg", []byte("x"))
	f := fetcher(t, b, FetcherOptions{})
	if _, err := f.Fetch(t.Context(), "secret", "a.jpg", "", "", 1); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("error is %v", err)
	}
	if n := b.Requests(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func FuzzAllow(f *testing.F) {
	rules, err := parseRules([]string{"mixed/in/*"})
	if err != nil {
		f.Fatal(err)
	}
	for _, key := range []string{"in/a.jpg", "in/../a", "in/%2e%2e/a", "in/a%", "in/%zz"} {
		f.Add("mixed", key)
	}
	f.Fuzz(func(t *testing.T, bucket, key string) {
		if allowed(rules, bucket, key) == nil && (bucket != "mixed" || !strings.HasPrefix(key, "in/") || strings.Contains(key, "/../")) {
			t.Errorf("%q %q is allowed", bucket, key)
		}
	})
}
