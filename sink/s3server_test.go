package sink

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// servedBucket is the program's own client on a server of its own.
type servedBucket struct {
	*objects.Client
	server *s3server.Server
}

func serve(t *testing.T, fault func(*http.Request) *s3server.Fault) servedBucket {
	t.Helper()
	server := s3server.New(s3server.Options{AccessKey: "test", Fault: fault})
	server.Put("b", "elsewhere", nil)
	url, err := server.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	key := func() (string, error) { return "test", nil }
	client, err := objects.Open(t.Context(), objects.Options{
		Endpoint: url, PathStyle: true, AccessKey: key, SecretKey: key, MaxBackoff: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return servedBucket{client, server}
}

func (b servedBucket) keys(prefix string) []string {
	var keys []string
	for _, key := range b.server.Keys("b") {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (b servedBucket) change(key string, edit func([]byte) []byte) {
	data, _ := b.server.Get("b", key)
	if data = edit(bytes.Clone(data)); data == nil {
		b.server.Delete("b", key)
	} else {
		b.server.Put("b", key, data)
	}
}

// Every request is refused, cut off or answered by nobody once, every second write after it took effect: the store does
// not notice, and takes none of its own writes for another's.
func TestS3StoreOnABadServer(t *testing.T) {
	var mu sync.Mutex
	tries := map[string]int{}
	b := serve(t, func(r *http.Request) *s3server.Fault {
		mu.Lock()
		defer mu.Unlock()
		what := r.Method + r.URL.String()
		tries[what]++
		switch {
		case tries[what]%2 == 0:
			return nil
		case len(tries)%3 == 0:
			return &s3server.Fault{Status: 503, Code: "SlowDown"}
		case r.Method == http.MethodGet:
			return &s3server.Fault{Truncate: true, At: 100}
		}
		return &s3server.Fault{Reset: true, After: true}
	})
	s := openS3(t, b, func(o *S3Options) { o.Keep = 2 })
	put(t, s, checkpoint(1, 1), checkpoint(2, 2), checkpoint(3, 3))
	if err := s.beat(t.Context(), false); err != nil {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	next := openS3(t, b, nil)
	newestIs(t, next, 3, 3)
	if err := next.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
