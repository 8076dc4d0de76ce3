package control

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

// Limits on what clients may cost.
const (
	maxConnections = 64
	maxHeader      = 16 << 10 // bytes
	maxBody        = 4 << 10  // bytes; no request needs one
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = time.Minute // metrics to a slow client
	idleTimeout    = 2 * time.Minute
)

// ErrNoToken is wrapped by Open's error when HTTP was to be reachable from elsewhere without a token.
var ErrNoToken = errors.New("beyond loopback a token is required")

// listenHTTP listens on address, which must be loopback's if there is no token.
func listenHTTP(address, token string) (net.Listener, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w; give it as host:port, such as 127.0.0.1:9464", address, err)
	}
	if token == "" && !at.IP.IsLoopback() {
		return nil, fmt.Errorf("listen on %q: %w; set one, or listen on 127.0.0.1", address, ErrNoToken)
	}
	l, err := net.ListenTCP("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w; choose another address", err)
	}
	return netutil.LimitListener(l, maxConnections), nil
}

func (s *Server) httpServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.probe(live))
	mux.HandleFunc("GET /readyz", s.probe(ready))
	mux.Handle("GET /status", s.guarded(http.HandlerFunc(s.status)))
	if s.options.Metrics != nil {
		mux.Handle("GET /metrics", s.guarded(s.options.Metrics))
	}
	server := s.newServer(mux)
	server.WriteTimeout = writeTimeout
	return server
}

func (s *Server) newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(h, maxBody),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(warner(s.options.Warn), "", 0),
	}
}

// warner writes a server's complaints as warnings.
type warner func(text string)

func (w warner) Write(p []byte) (int, error) {
	w("control: " + strings.TrimSpace(string(p)))
	return len(p), nil
}

func (s *Server) probe(judge func(Snapshot) (string, bool)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		word, ok := judge(s.options.State.Snapshot())
		code := http.StatusOK
		if !ok {
			code = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(code)
		_, _ = fmt.Fprintln(w, word) // the client is gone, or it is not
	}
}

// guarded lets those in who know the token. Without a token, which is on loopback alone, it lets in who asked for a
// loopback name: a web page whose own name was made to point here did not.
func (s *Server) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.options.Token == "" && !loopbackName(r.Host):
			http.Error(w, "ask for a loopback address", http.StatusForbidden)
		case s.options.Token != "" && !s.knowsToken(r.Header.Get("Authorization")):
			w.Header().Set("WWW-Authenticate", `Bearer realm="mocostream"`)
			http.Error(w, "a bearer token is required", http.StatusUnauthorized)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// knowsToken compares in a time that depends on neither token.
func (s *Server) knowsToken(header string) bool {
	scheme, token, _ := strings.Cut(header, " ")
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.options.Token))
	same := subtle.ConstantTimeCompare(got[:], want[:]) == 1
	return strings.EqualFold(scheme, "Bearer") && same
}

func loopbackName(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Status is the answer to /status.
type Status struct {
	Snapshot
	Run any `json:"run,omitempty"` // Options.Status
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	st := Status{Snapshot: s.options.State.Snapshot()}
	if s.options.Status != nil {
		st.Run = s.options.Status()
	}
	answer(w, http.StatusOK, st)
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil { // a number that is none, say
		code, text = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // the client is gone, or it is not
}
