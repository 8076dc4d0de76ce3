package objects_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

func TestGetParallel(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	data := noise(200_003)
	s.Put(bucket, "o", data)
	o := stat(t, c, "o")
	rng := rand.New(rand.NewPCG(5, 6))
	f.set(func(*http.Request) *s3server.Fault {
		if rng.IntN(2) == 0 {
			return &s3server.Fault{Truncate: true, At: rng.Int64N(9000)}
		}
		return nil
	})
	for _, from := range []int64{0, 1, 100_000, 200_002, 200_003} {
		r, err := c.GetParallel(t.Context(), bucket, o, from, 10_000, 4)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, data[from:]) {
			t.Errorf("from %d: %d bytes, want %d as stored: %v", from, len(got), len(data)-int(from), err)
		}
	}
}

func TestGetParallelFailures(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	s.Put(bucket, "o", noise(100_000))
	o := stat(t, c, "o")
	read := func() error {
		r, err := c.GetParallel(t.Context(), bucket, o, 0, 10_000, 3)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	f.set(func(r *http.Request) *s3server.Fault {
		return &s3server.Fault{Flip: strings.HasPrefix(r.Header.Get("Range"), "bytes=50000-")}
	})
	if err := read(); !errors.Is(err, objects.ErrCorrupt) {
		t.Errorf("flipped: %v", err)
	}
	f.set(func(r *http.Request) *s3server.Fault {
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=50000-") {
			s.Put(bucket, "o", []byte("other"))
		}
		return nil
	})
	if err := read(); !errors.Is(err, objects.ErrChanged) {
		t.Errorf("changed: %v", err)
	}
	for _, sizes := range [][2]int{{0, 3}, {10, 0}} {
		if _, err := c.GetParallel(t.Context(), bucket, o, 0, int64(sizes[0]), sizes[1]); err == nil {
			t.Errorf("%v: no error", sizes)
		}
	}
}

// No more than the parts asked for are fetched ahead of a reader that does not read, and Close ends them.
func TestGetParallelIsBounded(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	s.Put(bucket, "o", noise(100_000))
	o := stat(t, c, "o")
	ranges := make(chan string, 100)
	f.set(func(r *http.Request) *s3server.Fault {
		if text := r.Header.Get("Range"); text != "" {
			ranges <- text
		}
		return nil
	})
	r, err := c.GetParallel(t.Context(), bucket, o, 0, 1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-ranges
	}
	r.Close()
	if extra := len(ranges); extra != 0 {
		t.Errorf("%d parts too many were asked for", extra)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after Close: %v", err)
	}
}
