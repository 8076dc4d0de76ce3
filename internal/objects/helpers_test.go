package objects_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

const (
	bucket    = "imgs"
	accessKey = "AKIDEXAMPLE00000TEST"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	session   = "FwoGZXIvYXdzEBYaDexample+session/token=="
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faults is a Fault hook that a test changes as it goes.
type faults struct {
	mu   sync.Mutex
	next func(r *http.Request) *s3server.Fault
}

func (f *faults) set(next func(r *http.Request) *s3server.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = next
}

func (f *faults) ask(r *http.Request) *s3server.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		return nil
	}
	return f.next(r)
}

// first has the first n requests of a method go wrong, "" is any method.
func first(n int, method string, fault s3server.Fault) func(*http.Request) *s3server.Fault {
	return func(r *http.Request) *s3server.Fault {
		if (method != "" && r.Method != method) || n == 0 {
			return nil
		}
		n--
		return &fault
	}
}

// always has every request of a method go wrong.
func always(method string, fault s3server.Fault) func(*http.Request) *s3server.Fault {
	return first(-1, method, fault)
}

// start runs a server with a bucket and a client for it, which waits little between tries.
func start(t *testing.T, server s3server.Options, opts objects.Options) (*s3server.Server, *objects.Client, *faults) {
	t.Helper()
	f := &faults{}
	server.Fault = f.ask
	if server.AccessKey == "" {
		server.AccessKey = accessKey
	}
	s := s3server.New(server)
	url, err := s.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.Put(bucket, "present", nil)
	opts.Endpoint = url
	return s, open(t, opts), f
}

func open(t *testing.T, opts objects.Options) *objects.Client {
	t.Helper()
	opts.PathStyle = true
	if opts.MaxBackoff == 0 {
		opts.MaxBackoff = time.Millisecond
	}
	if opts.AccessKey == nil {
		opts.AccessKey, opts.SecretKey = constant(accessKey), constant(secretKey)
	}
	c, err := objects.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func constant(text string) func() (string, error) {
	return func() (string, error) { return text, nil }
}

// noise returns bytes that no compression, shift or repetition leaves the same.
func noise(n int) []byte {
	var out []byte
	for i := uint64(0); len(out) < n; i++ {
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func stat(t *testing.T, c *objects.Client, key string) objects.Object {
	t.Helper()
	o, err := c.Stat(t.Context(), bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func readFrom(ctx context.Context, c *objects.Client, o objects.Object, from int64) ([]byte, error) {
	r, err := c.Get(ctx, bucket, o, from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// noSecrets fails when a text holds a credential.
func noSecrets(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{accessKey, secretKey, session} {
		if strings.Contains(text, secret) {
			t.Errorf("a credential is in %q", text)
		}
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
