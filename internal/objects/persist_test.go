package objects_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// One operation outlives a burst of more refusals than any number of attempts, and such bursts use nothing up for the
// operations that follow.
func TestBurstsOf503(t *testing.T) {
	var mu sync.Mutex
	var warnings []string
	s, c, f := start(t, s3server.Options{}, objects.Options{Warn: func(text string) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, text)
	}})
	for range 4 {
		f.set(first(70, "", s3server.Fault{Status: 503, Code: "SlowDown", Text: "Please reduce your request rate."}))
		if _, err := c.Stat(t.Context(), bucket, "present"); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Requests(); got != 4*71 {
		t.Errorf("%d requests, want %d", got, 4*71)
	}
	f.set(first(70, "", s3server.Fault{Status: 503, Code: "SlowDown"}))
	if got := list(t, c, "", ""); !slices.Equal(got, []string{"present"}) {
		t.Errorf("listed %q", got)
	}
	if got := c.Stats(); got.Throttled != 5*70 || got.Retries != 5*70 || got.Requests != 5*71 {
		t.Errorf("stats %+v", got)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "asks for fewer requests") {
		t.Errorf("warned %q, want once of throttling", warnings)
	}
}

func TestDeadline(t *testing.T) {
	_, c, f := start(t, s3server.Options{}, objects.Options{Deadline: 50 * time.Millisecond})
	f.set(always("", s3server.Fault{Status: 500, Code: "InternalError", Text: "We encountered an internal error."}))
	for _, err := range c.List(t.Context(), bucket, "", "") {
		if !errors.Is(err, objects.ErrUnavailable) || !strings.Contains(err.Error(), "list s3://imgs/: gave up after ") ||
			!strings.Contains(err.Error(), "InternalError") {
			t.Errorf("got %v", err)
		}
	}
}

// A server that accepts and says nothing holds no call for longer than a try and the deadline.
func TestSilentServer(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{Deadline: 50 * time.Millisecond, Stall: 30 * time.Millisecond})
	s.Put(bucket, "o", []byte("data"))
	f.set(always("", s3server.Fault{Delay: time.Hour}))
	o := objects.Object{Key: "o", Size: 4}
	_, statErr := c.Stat(t.Context(), bucket, "o")
	_, readErr := c.ReadAll(t.Context(), bucket, o)
	_, rangeErr := c.ReaderAt(t.Context(), bucket, o).ReadAt(make([]byte, 2), 1)
	_, putErr := c.Put(t.Context(), bucket, "p", strings.NewReader("x"), objects.PutOptions{})
	for i, err := range []error{statErr, readErr, rangeErr, putErr, c.Delete(t.Context(), bucket, "o")} {
		if !errors.Is(err, objects.ErrUnavailable) || !strings.Contains(err.Error(), "no byte moved") {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	_, c, f := start(t, s3server.Options{}, objects.Options{MaxBackoff: time.Hour})
	f.set(always("", s3server.Fault{Status: 503, Code: "SlowDown"}))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Stat(ctx, bucket, "present"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, objects.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// What cannot get better is not tried again.
func TestFatalAtOnce(t *testing.T) {
	for code, want := range map[string]error{
		"AccessDenied": fs.ErrPermission, "NoSuchBucket": fs.ErrNotExist, "InvalidObjectState": nil, "PermanentRedirect": nil,
	} {
		s, c, f := start(t, s3server.Options{}, objects.Options{})
		f.set(always("", s3server.Fault{Status: 403, Code: code, Text: "No."}))
		_, err := c.ReadAll(t.Context(), bucket, objects.Object{Key: "o", Size: 3})
		if err == nil || (want != nil && !errors.Is(err, want)) || !strings.Contains(err.Error(), code+": No. (HTTP 403); ") {
			t.Errorf("%s: %v", code, err)
		}
		if got := s.Requests(); got != 1 {
			t.Errorf("%s: %d requests", code, got)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	var warnings []string
	c := open(t, objects.Options{
		Endpoint: "http://127.0.0.1:1", Deadline: 300 * time.Millisecond,
		Warn: func(text string) { warnings = append(warnings, text) },
	})
	for range 2 {
		_, err := c.Stat(t.Context(), bucket, "o")
		if !errors.Is(err, objects.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("got %v", err)
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "connection refused; trying for up to 300ms") {
		t.Errorf("warned %q", warnings)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://localhost:9000":              "",
		"http://127.0.0.1":                   "",
		"http://[::1]:9000":                  "",
		"https://s3.example.com":             "",
		"http://s3.example.com":              "use https, or set allow_http",
		"http://127.0.0.1.example.com":       "use https, or set allow_http",
		"s3.example.com":                     "is no URL",
		"ftp://s3.example.com":               "is no URL",
		"https://user:" + session[:9] + "@x": "credentials have their own settings",
	} {
		_, err := objects.Open(t.Context(), objects.Options{
			Endpoint: endpoint, AccessKey: constant(accessKey), SecretKey: constant(secretKey),
		})
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", endpoint, err)
		}
		if err != nil {
			noSecrets(t, err.Error())
		}
	}
	if _, err := objects.Open(t.Context(), objects.Options{Endpoint: "http://s3.example.com", AllowHTTP: true, Anonymous: true}); err != nil {
		t.Error(err)
	}
	t.Setenv("AWS_ENDPOINT_URL", "http://s3.example.com")
	if _, err := objects.Open(t.Context(), objects.Options{Anonymous: true}); err == nil {
		t.Error("an endpoint of the environment may be http")
	}
	if _, err := objects.Open(t.Context(), objects.Options{Checksum: "always"}); err == nil {
		t.Error("an unknown checksum mode is taken")
	}
}
