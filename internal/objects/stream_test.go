package objects_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// rangesOf counts the requests for a part.
func rangesOf(f *faults) *atomic.Int64 {
	var n atomic.Int64
	f.set(func(r *http.Request) *s3server.Fault {
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
			n.Add(1)
		}
		return nil
	})
	return &n
}

func TestStream(t *testing.T) {
	const size, part, look = 200_003, 10_000, 30_000
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	data := noise(size)
	s.Put(bucket, "o", data)
	o := stat(t, c, "o")
	read := func(t *testing.T, from int64) {
		t.Helper()
		r, err := c.Stream(t.Context(), bucket, o, from, part, 3)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[from:]) {
			t.Errorf("from %d: %d bytes, want %d as stored: %v", from, len(got), len(data)-int(from), err)
		}
	}
	t.Run("fast", func(t *testing.T) {
		c.SetPace(look, 0)
		ranges := rangesOf(f)
		read(t, 0)
		if n := ranges.Load(); n != 0 {
			t.Errorf("%d parts were asked for", n)
		}
	})
	t.Run("slow", func(t *testing.T) {
		c.SetPace(look, math.Inf(1))
		f.set(func(r *http.Request) *s3server.Fault {
			return &s3server.Fault{Chunk: 5000, Delay: 100 * time.Microsecond}
		})
		read(t, 0) // begins with one request
		ranges := rangesOf(f)
		for _, from := range []int64{0, 1, 100_000, size - 1, size} {
			read(t, from)
		}
		if n := ranges.Load(); n < 2*size/part {
			t.Errorf("%d parts were asked for", n)
		}
	})
}

// A reader that becomes one of parts knows the checksum still, and leaves its place to others.
func TestStreamWidens(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	data := noise(100_000)
	s.Put(bucket, "o", data)
	o := stat(t, c, "o")
	for _, flip := range []bool{false, true} {
		for range 3 { // more than there are places
			c.SetPace(20_000, math.Inf(1)) // forgets that the server was slow
			var parts atomic.Int64
			f.set(func(r *http.Request) *s3server.Fault {
				part := r.Header.Get("Range")
				if part == "" {
					return &s3server.Fault{Chunk: 2000, Delay: 100 * time.Microsecond}
				}
				parts.Add(1)
				return &s3server.Fault{Flip: flip && strings.HasSuffix(part, "-99999")}
			})
			r, err := c.Stream(t.Context(), bucket, o, 0, 10_000, 3)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			switch {
			case parts.Load() == 0 || parts.Load() > 9:
				t.Errorf("%d parts were asked for", parts.Load())
			case flip && !errors.Is(err, objects.ErrCorrupt):
				t.Errorf("a flipped bit: %v", err)
			case !flip && (err != nil || !bytes.Equal(got, data)):
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}
	}
}
