// Package s3server is a small S3 in memory, for tests and for a demonstration with nothing installed. It lists, reads
// (ranges, If-Match), writes (conditions, checksums, multipart) and deletes as S3 does, and on request misbehaves as
// networks and stores do (Fault). It is a stand-in: it compares the access key and token of a request and does not check the
// signature, keeps no versions, and knows only bucket names in the path.
package s3server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options says whom the server answers and how much it knows.
type Options struct {
	AccessKey string // "" answers everybody, also without a signature
	Token     string // session token that goes with AccessKey; "" asks for none
	// NoChecksums leaves x-amz-checksum-* out of the answers, as many servers do that are not AWS's.
	NoChecksums bool
	// Fault is asked before each request, concurrently; nil, or a nil answer, is good behaviour.
	Fault func(r *http.Request) *Fault
}

// Server is an http.Handler. Its methods may be called concurrently.
type Server struct {
	opts     Options
	requests atomic.Int64

	mu      sync.RWMutex
	access  string
	token   string
	buckets map[string]*bucket
	uploads map[string]*upload

	serving sync.WaitGroup
	stop    context.CancelFunc
}

// New returns a server without buckets.
func New(opts Options) *Server {
	return &Server{
		opts: opts, access: opts.AccessKey, token: opts.Token,
		buckets: make(map[string]*bucket), uploads: make(map[string]*upload),
	}
}

// Start serves on a free port of the loopback interface, until ctx ends or Close, and returns the URL.
func (s *Server) Start(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("start S3 stand-in: %w", err)
	}
	ctx, s.stop = context.WithCancel(ctx)
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	s.serving.Add(2)
	go func() {
		defer s.serving.Done()
		server.Serve(listener) //nolint:errcheck // ends with Close
	}()
	go func() {
		defer s.serving.Done()
		<-ctx.Done()
		server.Close()
	}()
	return "http://" + listener.Addr().String(), nil
}

// Close ends what Start began and waits for it; a Server that was not started has nothing to close.
func (s *Server) Close() error {
	if s.stop != nil {
		s.stop()
		s.serving.Wait()
	}
	return nil
}

// Requests returns how many requests came in, faulty ones included.
func (s *Server) Requests() int64 { return s.requests.Load() }

// SetCredentials replaces the access key and token that are answered, as when they are rotated.
func (s *Server) SetCredentials(accessKey, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access, s.token = accessKey, token
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	fault := &Fault{}
	if s.opts.Fault != nil {
		if f := s.opts.Fault(r); f != nil {
			fault = f
		}
	}
	var answer *response
	if fault.keepsOut() {
		answer = fault.answer()
	} else if answer = s.refuse(r); answer == nil {
		answer = s.route(r)
	}
	fault.send(w, r, answer)
}

// refuse returns the answer for a request with other credentials than the server's, nil for good ones.
func (s *Server) refuse(r *http.Request) *response {
	s.mu.RLock()
	access, token := s.access, s.token
	s.mu.RUnlock()
	if access == "" {
		return nil
	}
	credential := r.URL.Query().Get("X-Amz-Credential")
	if _, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		credential = rest
	}
	if credential == "" {
		return failed(http.StatusForbidden, "AccessDenied", "Access Denied")
	}
	if key, _, _ := strings.Cut(credential, "/"); key != access {
		return failed(http.StatusForbidden, "InvalidAccessKeyId", "The access key "+key+" does not exist in our records.")
	}
	if given := r.Header.Get("X-Amz-Security-Token"); given != token {
		return failed(http.StatusBadRequest, "InvalidToken", "The provided token "+given+" is malformed or otherwise invalid.")
	}
	return nil
}

// route finds the handler by method, path and the query's markers.
func (s *Server) route(r *http.Request) *response {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case name == "":
		return failed(http.StatusNotImplemented, "NotImplemented", "This server does not list buckets.")
	case key == "":
		return s.bucketRequest(r, name)
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return s.get(r, name, key)
	case r.Method == http.MethodPut && query.Has("partNumber"):
		return s.uploadPart(r)
	case r.Method == http.MethodPut:
		return s.put(r, name, key)
	case r.Method == http.MethodPost && query.Has("uploads"):
		return s.createUpload(r, name, key)
	case r.Method == http.MethodPost && query.Has("uploadId"):
		return s.completeUpload(r, name, key)
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		return s.abortUpload(r)
	case r.Method == http.MethodDelete:
		return s.remove(name, key)
	}
	return failed(http.StatusNotImplemented, "NotImplemented", "This server does not implement the request.")
}

func (s *Server) bucketRequest(r *http.Request, name string) *response {
	switch {
	case r.Method == http.MethodPut:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.makeBucket(name)
		return &response{status: http.StatusOK}
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		return s.list(r, name)
	case r.Method == http.MethodHead:
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.buckets[name] == nil {
			return noBucket()
		}
		return &response{status: http.StatusOK}
	case r.Method == http.MethodPost && r.URL.Query().Has("delete"):
		return s.removeMany(r, name)
	}
	return failed(http.StatusNotImplemented, "NotImplemented", "This server does not implement the request.")
}

// requestID makes answers look like S3's.
func requestID() string { return rand.Text()[:16] }
