package objects_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// rotating are credentials whose key and token change when the server's do.
type rotating struct {
	n     atomic.Int64 // in force
	calls atomic.Int64
}

func (r *rotating) key() (string, error) {
	r.calls.Add(1)
	return fmt.Sprintf("%s%d", accessKey, r.n.Load()), nil
}

func (r *rotating) token() (string, error) { return fmt.Sprintf("%s%d", session, r.n.Load()), nil }

func (r *rotating) rotate(s *s3server.Server) {
	n := r.n.Add(1)
	s.SetCredentials(fmt.Sprintf("%s%d", accessKey, n), fmt.Sprintf("%s%d", session, n))
}

func startRotating(t *testing.T) (*rotating, *s3server.Server, *objects.Client, *faults) {
	t.Helper()
	r := &rotating{}
	s, c, f := start(t, s3server.Options{AccessKey: accessKey + "0", Token: session + "0"},
		objects.Options{AccessKey: r.key, SecretKey: constant(secretKey), SessionToken: r.token})
	return r, s, c, f
}

// Credentials that are refused are fetched again: once for all calls that were refused, also in the middle of a read, and
// as often as they change.
func TestCredentialsAreRenewed(t *testing.T) {
	r, s, c, f := startRotating(t)
	s.Put(bucket, "o", noise(10_000))
	o := stat(t, c, "o")
	for range 3 {
		r.rotate(s)
		before := r.calls.Load()
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				if _, err := c.Stat(t.Context(), bucket, "o"); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if got := r.calls.Load() - before; got != 1 {
			t.Errorf("credentials were fetched %d times", got)
		}
	}
	body, err := c.Get(t.Context(), bucket, o, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	n := 0
	f.set(func(*http.Request) *s3server.Fault {
		if n++; n%2 == 1 { // each odd answer is cut, and the credentials for the next one are stale
			r.rotate(s)
			return &s3server.Fault{Status: 400, Code: "ExpiredToken", Text: "The provided token has expired."}
		}
		return &s3server.Fault{Truncate: true, At: 3000}
	})
	if got, err := readFrom(t.Context(), c, o, 0); err != nil || len(got) != 10_000 {
		t.Errorf("%d bytes: %v", len(got), err)
	}
}

// After one renewal the caller is told, by an error that holds none of the credentials, though the server repeats them.
func TestRefusedCredentials(t *testing.T) {
	_, s, c, _ := startRotating(t)
	s.Put(bucket, "o", noise(10))
	o := stat(t, c, "o")
	s.SetCredentials("AKIDOTHER", "")
	before := s.Requests()
	_, readErr := c.ReadAll(t.Context(), bucket, o)
	if got := s.Requests() - before; got != 2 {
		t.Errorf("%d requests, want one with each credentials", got)
	}
	_, statErr := c.Stat(t.Context(), bucket, "o")
	s.SetCredentials(accessKey+"0", "another token")
	_, putErr := c.Put(t.Context(), bucket, "p", strings.NewReader("x"), objects.PutOptions{})
	for _, err := range []error{readErr, statErr, putErr, c.Delete(t.Context(), bucket, "o")} {
		if !errors.Is(err, objects.ErrCredentials) || !strings.Contains(err.Error(), "renew the credentials and resume") {
			t.Fatalf("got %v", err)
		}
		noSecrets(t, err.Error())
	}
	if !strings.Contains(readErr.Error(), "InvalidAccessKeyId: The access key *** does not exist") {
		t.Errorf("got %v", readErr)
	}
	s.SetCredentials(accessKey+"0", session+"0")
	if _, err := c.ReadAll(t.Context(), bucket, o); err != nil {
		t.Errorf("after the pause: %v", err)
	}
}

func TestCredentialsThatCannotBeHad(t *testing.T) {
	fails := func() (string, error) { return "", errors.New("open key file: no such file") }
	_, err := objects.Open(t.Context(), objects.Options{AccessKey: fails, SecretKey: constant(secretKey)})
	if !errors.Is(err, objects.ErrCredentials) || !strings.Contains(err.Error(), "access key: open key file") {
		t.Errorf("got %v", err)
	}
	_, err = objects.Open(t.Context(), objects.Options{AccessKey: constant(""), SecretKey: constant(secretKey)})
	if !errors.Is(err, objects.ErrCredentials) || !strings.Contains(err.Error(), "set both, or anonymous") {
		t.Errorf("got %v", err)
	}
}

// The default chain is loaded anew when its credentials are refused: the profile's file may hold others by now.
func TestProfileIsReadAgain(t *testing.T) {
	s, _, _ := start(t, s3server.Options{AccessKey: "AKIDFIRST"}, objects.Options{AccessKey: constant("AKIDFIRST"), SecretKey: constant(secretKey)})
	s.Put(bucket, "o", nil)
	profile := func(key string) string {
		return "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = " + secretKey + "\n"
	}
	file := write(t, "credentials", profile("AKIDFIRST"))
	for name, value := range map[string]string{
		"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_CONFIG_FILE": file, "AWS_PROFILE": "",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	url, err := s.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := objects.Open(t.Context(), objects.Options{Endpoint: url, PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stat(t, c, "o")
	s.SetCredentials("AKIDSECOND", "")
	if err := os.WriteFile(file, []byte(profile("AKIDSECOND")), 0o600); err != nil {
		t.Fatal(err)
	}
	stat(t, c, "o")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file+".none")
	t.Setenv("AWS_CONFIG_FILE", file+".none")
	none, err := objects.Open(t.Context(), objects.Options{Endpoint: url, PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if _, err := none.Stat(t.Context(), bucket, "o"); !errors.Is(err, objects.ErrCredentials) {
		t.Errorf("without any credentials: %v", err)
	}
}

func TestAnonymous(t *testing.T) {
	s := s3server.New(s3server.Options{Fault: func(r *http.Request) *s3server.Fault {
		if r.Header.Get("Authorization") != "" {
			return &s3server.Fault{Status: 403, Code: "AccessDenied"}
		}
		return nil
	}})
	url, err := s.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Put(bucket, "o", []byte("public"))
	c, err := objects.Open(t.Context(), objects.Options{Endpoint: url, PathStyle: true, Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := c.ReadAll(t.Context(), bucket, stat(t, c, "o")); err != nil || string(got) != "public" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRedact(t *testing.T) {
	_, c, _ := start(t, s3server.Options{}, objects.Options{})
	text := "GET http://h/b?X-Amz-Credential=AKID%2F2026&X-Amz-Signature=abcdef&list-type=2 by " + accessKey + "; " + secretKey
	want := "GET http://h/b?X-Amz-Credential=***&X-Amz-Signature=***&list-type=2 by ***; ***"
	if got := c.Redact(text); got != want {
		t.Errorf("got %q", got)
	}
}
