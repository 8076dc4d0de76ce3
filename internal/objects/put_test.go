package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// Objects arrive as they were sent, whole or in parts, with either way to send checksums, through requests that fail.
func TestPut(t *testing.T) {
	for _, checksum := range []string{"when_supported", "when_required"} {
		for _, body := range []string{"bytes", "seeker"} {
			t.Run(checksum+" "+body, func(t *testing.T) {
				s, c, f := start(t, s3server.Options{}, objects.Options{Checksum: checksum})
				c.SendInParts(20_000)
				f.set(func() func(r *http.Request) *s3server.Fault {
					n := 0
					return func(*http.Request) *s3server.Fault {
						if n++; n%2 == 1 {
							return &s3server.Fault{Status: 503, Code: "SlowDown"}
						}
						return nil
					}
				}())
				for _, size := range []int{0, 1, 20_000, 20_001, 95_000} {
					data := noise(size)
					var in io.ReadSeeker = bytes.NewReader(data)
					if body == "seeker" {
						in = struct{ io.ReadSeeker }{in}
					}
					o, err := c.Put(t.Context(), bucket, "dir/a b+c", in, objects.PutOptions{ContentType: "image/jpeg"})
					if err != nil {
						t.Fatal(err)
					}
					got, _ := s.Get(bucket, "dir/a b+c")
					if found := stat(t, c, "dir/a b+c"); !bytes.Equal(got, data) || o.Size != int64(size) || o.ETag != found.ETag {
						t.Errorf("%d bytes: stored %d, %+v, found %+v", size, len(got), o, found)
					}
					if strings.Contains(o.ETag, "-") != (size > 20_000) {
						t.Errorf("%d bytes: ETag %s", size, o.ETag)
					}
				}
			})
		}
	}
}

func TestPutSendsChecksums(t *testing.T) {
	for checksum, want := range map[string]string{"when_supported": "X-Amz-Checksum-Crc32", "when_required": "Content-Md5"} {
		_, c, f := start(t, s3server.Options{}, objects.Options{Checksum: checksum})
		c.SendInParts(6000)
		var mu sync.Mutex
		sent := 0
		f.set(func(r *http.Request) *s3server.Fault {
			mu.Lock()
			defer mu.Unlock()
			if r.Method == http.MethodPut {
				if sent++; r.Header.Get(want) == "" {
					t.Errorf("%s: %s without %s", checksum, r.URL, want)
				}
			}
			return nil
		})
		for _, size := range []int{5000, 7000} {
			if _, err := c.Put(t.Context(), bucket, "o", bytes.NewReader(noise(size)), objects.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if sent != 3 {
			t.Errorf("%d bodies", sent)
		}
	}
}

func TestConditions(t *testing.T) {
	_, c, _ := start(t, s3server.Options{}, objects.Options{})
	c.SendInParts(1000)
	for _, size := range []int{10, 2500} {
		key := fmt.Sprint("o", size)
		put := func(opts objects.PutOptions) (objects.Object, error) {
			return c.Put(t.Context(), bucket, key, bytes.NewReader(noise(size)), opts)
		}
		if _, err := put(objects.PutOptions{IfMatch: `"0123"`}); !errors.Is(err, objects.ErrExists) {
			t.Errorf("%d: replace what is not there: %v", size, err)
		}
		o, err := put(objects.PutOptions{IfNoneMatch: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := put(objects.PutOptions{IfNoneMatch: true}); !errors.Is(err, objects.ErrExists) {
			t.Errorf("%d: again: %v", size, err)
		}
		if _, err := put(objects.PutOptions{IfMatch: o.ETag}); err != nil {
			t.Errorf("%d: replace: %v", size, err)
		}
		if _, err := put(objects.PutOptions{IfMatch: `"0123"`}); !errors.Is(err, objects.ErrExists) {
			t.Errorf("%d: replace another: %v", size, err)
		}
	}
}

// The answer to a Put that took effect is lost: tried again, it knows its own object and takes no other for it.
func TestLostAnswers(t *testing.T) {
	for _, size := range []int{10, 2500} {
		for name, lost := range map[string]s3server.Fault{
			"reset": {Reset: true, After: true}, "500": {Status: 500, Code: "InternalError", After: true},
		} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				s, c, f := start(t, s3server.Options{}, objects.Options{})
				c.SendInParts(1000)
				last := func(r *http.Request) bool { // the request that makes the object
					return (r.Method == http.MethodPut && size < 1000) ||
						(r.Method == http.MethodPost && r.URL.Query().Has("uploadId"))
				}
				once := true
				f.set(func(r *http.Request) *s3server.Fault {
					if last(r) && once {
						once = false
						return &lost
					}
					return nil
				})
				put := func(key string) (objects.Object, error) {
					return c.Put(t.Context(), bucket, key, bytes.NewReader(noise(size)), objects.PutOptions{IfNoneMatch: true})
				}
				if o, err := put("ours"); err != nil || o.ETag != stat(t, c, "ours").ETag {
					t.Errorf("ours: %+v, %v", o, err)
				}
				n := 0
				f.set(func(r *http.Request) *s3server.Fault { // another writer comes first, with the same bytes
					if !last(r) {
						return nil
					}
					if n++; n == 1 {
						return &s3server.Fault{Status: 500, Code: "InternalError"}
					}
					s.Put(bucket, "theirs", noise(size))
					return nil
				})
				if _, err := put("theirs"); !errors.Is(err, objects.ErrExists) {
					t.Errorf("theirs: %v", err)
				}
			})
		}
	}
}

func TestOneWriterWins(t *testing.T) {
	_, c, _ := start(t, s3server.Options{}, objects.Options{})
	var wins, losses atomic.Int64
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			_, err := c.Put(t.Context(), bucket, "manifest", strings.NewReader("same"), objects.PutOptions{IfNoneMatch: true})
			switch {
			case err == nil:
				wins.Add(1)
			case errors.Is(err, objects.ErrExists):
				losses.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if wins.Load() != 1 || losses.Load() != 15 {
		t.Errorf("%d wins, %d losses", wins.Load(), losses.Load())
	}
}

// A multipart upload that fails, or whose caller gives up, leaves no parts behind.
func TestFailedUploadsAreAborted(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	c.SendInParts(1000)
	ctx, cancel := context.WithCancel(t.Context())
	f.set(func(r *http.Request) *s3server.Fault {
		if r.URL.Query().Get("partNumber") == "3" {
			cancel()
			return &s3server.Fault{Status: 500, Code: "InternalError"}
		}
		return nil
	})
	if _, err := c.Put(ctx, bucket, "o", bytes.NewReader(noise(5000)), objects.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	f.set(func(r *http.Request) *s3server.Fault {
		if r.URL.Query().Get("partNumber") == "3" {
			return &s3server.Fault{Status: 403, Code: "AccessDenied"}
		}
		return nil
	})
	if _, err := c.Put(t.Context(), bucket, "o", bytes.NewReader(noise(5000)), objects.PutOptions{}); err == nil {
		t.Error("refused: no error")
	}
	if got := s.Uploads(); got != 0 {
		t.Errorf("%d uploads are left", got)
	}
	if _, ok := s.Get(bucket, "o"); ok {
		t.Error("half an object is there")
	}
}
