package objects_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"
	"time"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// Bodies are cut, reset or stalled at random places, and requests in between are refused: the bytes are those stored.
func TestGetTakesUpWhatWasCut(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{Stall: 100 * time.Millisecond})
	data := noise(300_000)
	s.Put(bucket, "o", data)
	o := stat(t, c, "o")
	rng := rand.New(rand.NewPCG(1, 2))
	f.set(func(*http.Request) *s3server.Fault {
		at := rng.Int64N(60_000)
		switch rng.IntN(12) {
		case 0:
			return &s3server.Fault{Reset: true}
		case 1:
			return &s3server.Fault{Status: 503, Code: "SlowDown"}
		case 2:
			return &s3server.Fault{Status: 500, Code: "InternalError"}
		case 3:
			return &s3server.Fault{Stall: true, At: at}
		case 4:
			return &s3server.Fault{Short: true}
		}
		return &s3server.Fault{Truncate: true, At: at}
	})
	for _, from := range []int64{0, 1, 123_456, 299_999} {
		got, err := readFrom(t.Context(), c, o, from)
		if err != nil || !bytes.Equal(got, data[from:]) {
			t.Errorf("from %d: %d bytes, want the last %d as stored: %v", from, len(got), len(data)-int(from), err)
		}
	}
	if stats := c.Stats(); stats.Retries < 10 || stats.Throttled == 0 || stats.Bytes < 300_000 || stats.Requests < stats.Retries {
		t.Errorf("stats %+v", stats)
	}
}

func TestGetEdges(t *testing.T) {
	s, c, _ := start(t, s3server.Options{}, objects.Options{})
	s.Put(bucket, "o", []byte("hello"))
	o := stat(t, c, "o")
	for from, want := range map[int64]string{0: "hello", 4: "o", 5: ""} {
		if got, err := readFrom(t.Context(), c, o, from); err != nil || string(got) != want {
			t.Errorf("from %d: %q, %v", from, got, err)
		}
	}
	for _, from := range []int64{-1, 6} {
		if _, err := readFrom(t.Context(), c, o, from); err == nil {
			t.Errorf("from %d: no error", from)
		}
	}
	if got, err := readFrom(t.Context(), c, stat(t, c, "present"), 0); err != nil || len(got) != 0 {
		t.Errorf("empty object: %q, %v", got, err)
	}
	if _, err := readFrom(t.Context(), c, objects.Object{Key: "o", Size: 7}, 0); !errors.Is(err, objects.ErrChanged) {
		t.Errorf("another size: %v", err)
	}
	r, err := c.Get(t.Context(), bucket, o, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after Close: %v", err)
	}
}

// An object that changes while it is read ends the read, also on servers that do not know If-Match.
func TestGetChanged(t *testing.T) {
	for name, ignoresIfMatch := range map[string]bool{"If-Match": false, "ETag": true} {
		t.Run(name, func(t *testing.T) {
			s, _, f := start(t, s3server.Options{}, objects.Options{})
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if ignoresIfMatch {
					r.Header.Del("If-Match")
				}
				s.ServeHTTP(w, r)
			}))
			defer proxy.Close()
			c := open(t, objects.Options{Endpoint: proxy.URL})
			s.Put(bucket, "o", noise(100_000))
			o := stat(t, c, "o")
			f.set(first(1, http.MethodGet, s3server.Fault{Truncate: true, At: 50_000}))
			r, err := c.Get(t.Context(), bucket, o, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			s.Put(bucket, "o", bytes.Repeat([]byte("x"), 100_000))
			if _, err := io.ReadAll(r); !errors.Is(err, objects.ErrChanged) {
				t.Errorf("got %v", err)
			}
			if _, err := c.ReadAll(t.Context(), bucket, o); !errors.Is(err, objects.ErrChanged) {
				t.Errorf("opened again: %v", err)
			}
			if _, err := c.ReaderAt(t.Context(), bucket, o).ReadAt(make([]byte, 9), 5); !errors.Is(err, objects.ErrChanged) {
				t.Errorf("ReadAt: %v", err)
			}
		})
	}
}

// A proxy that answers a range with the whole object is found out before a byte of it is handed on.
func TestRangesIgnored(t *testing.T) {
	s, _, _ := start(t, s3server.Options{}, objects.Options{})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		s.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	c := open(t, objects.Options{Endpoint: proxy.URL})
	s.Put(bucket, "o", noise(1000))
	o := stat(t, c, "o")
	if _, err := readFrom(t.Context(), c, o, 5); err == nil {
		t.Error("no error")
	}
	if got, err := readFrom(t.Context(), c, o, 0); err != nil || len(got) != 1000 {
		t.Errorf("whole: %d bytes, %v", len(got), err)
	}
}

func TestReadCanceled(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	s.Put(bucket, "o", noise(100_000))
	o := stat(t, c, "o")
	f.set(always(http.MethodGet, s3server.Fault{Stall: true, At: 1000}))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := c.Get(ctx, bucket, o, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A body that comes slowly is not a stalled one, however long it takes in all.
func TestSlowBody(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{Stall: time.Second, Deadline: time.Millisecond})
	data := noise(60_000)
	s.Put(bucket, "o", data)
	o := stat(t, c, "o")
	f.set(always("", s3server.Fault{Chunk: 1000, Delay: 20 * time.Millisecond}))
	before := c.Stats()
	got, err := readFrom(t.Context(), c, o, 0)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if after := c.Stats(); after.Requests != before.Requests+1 {
		t.Errorf("took %d requests", after.Requests-before.Requests)
	}
}

func TestReaderAt(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	data := noise(200)
	s.Put(bucket, "o", data)
	o := stat(t, c, "o")
	rng := rand.New(rand.NewPCG(3, 4))
	f.set(func(*http.Request) *s3server.Fault {
		if rng.IntN(3) == 0 {
			return &s3server.Fault{Truncate: true, At: rng.Int64N(100)}
		}
		return nil
	})
	if err := iotest.TestReader(io.NewSectionReader(c.ReaderAt(t.Context(), bucket, o), 0, o.Size), data); err != nil {
		t.Error(err)
	}
	n, err := c.ReaderAt(t.Context(), bucket, o).ReadAt(make([]byte, 100), 150)
	if n != 50 || err != io.EOF {
		t.Errorf("past the end: %d, %v", n, err)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, seed := range []string{"bytes 5-9/20", "bytes 0-0/1", "bytes */20", "bytes 5-9/*", "", "bytes -1-2/3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if first, total, ok := objects.ContentRange(text); ok && (first < 0 || total < 0) {
			t.Errorf("%q: %d of %d", text, first, total)
		}
	})
}
