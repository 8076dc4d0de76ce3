package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// run opens a server and runs it until the test ends.
func run(t *testing.T, o Options) *Server {
	t.Helper()
	if o.State == nil {
		o.State = NewState()
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// get asks a server over HTTP and returns "code body".
func get(t *testing.T, s *Server, path, token, host string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Address()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	if host != "" {
		r.Host = host
	}
	return send(t, r)
}

func send(t *testing.T, r *http.Request) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", response.StatusCode, strings.TrimSpace(string(body)))
}

var metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a_metric 1") })

func TestHTTP(t *testing.T) {
	state := NewState()
	s := run(t, Options{
		Address: "127.0.0.1:0", State: state, Metrics: metrics,
		Status: func() any { return map[string]int{"loss": 3} },
	})
	if got := get(t, s, "/readyz", "", ""); got != "503 starting" {
		t.Error(got)
	}
	state.Ready()
	state.Step(12)
	for path, want := range map[string]string{
		"/healthz": "200 training", "/readyz": "200 training", "/metrics": "200 a_metric 1", "/pause": "404 404 page not found",
	} {
		if got := get(t, s, path, "", ""); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	var st struct {
		Status
		Run map[string]int `json:"run"`
	}
	text := get(t, s, "/status", "", "localhost:80")
	if err := json.Unmarshal([]byte(text[4:]), &st); err != nil || st.State != Training || st.Step != 12 || st.Run["loss"] != 3 {
		t.Errorf("%s, %v", text, err)
	}
	for path, want := range map[string]string{"/status": "403", "/metrics": "403", "/healthz": "200"} {
		if got := get(t, s, path, "", "evil.example:80"); !strings.HasPrefix(got, want) {
			t.Errorf("%s by a foreign name: %s, want %s", path, got, want)
		}
	}
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Address()+"/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := send(t, post); !strings.HasPrefix(got, "405") {
		t.Error(got)
	}
}

// What Open was told of stalls holds for the probes and for whoever else asks the State.
func TestStall(t *testing.T) {
	state := NewState()
	s := run(t, Options{Address: "127.0.0.1:0", State: state, StallTimeout: time.Nanosecond})
	state.Ready()
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := get(t, s, path, "", ""); got != "503 stalled" {
			t.Errorf("%s: %s", path, got)
		}
	}
	state.Waiting(time.Now())
	if got := get(t, s, "/healthz", "", ""); got != "200 waiting" {
		t.Error(got)
	}
}

func TestStatusThatIsNoJSON(t *testing.T) {
	s := run(t, Options{Address: "localhost:0", Status: func() any { return math.NaN() }})
	if got := get(t, s, "/status", "", ""); !strings.HasPrefix(got, "500") {
		t.Error(got)
	}
}

func TestToken(t *testing.T) {
	const token = "correct-horse"
	s := run(t, Options{Address: "127.0.0.1:0", Token: token, Metrics: metrics})
	for header, want := range map[string]string{
		"":                        "401",
		"Bearer":                  "401",
		"Bearer wrong":            "401",
		"Bearer correct-horse2":   "401",
		"Basic correct-horse":     "401",
		"Bearer correct-horse":    "200",
		"bearer correct-horse":    "200",
		"Bearer  correct-horse":   "401",
		"Bearer correct-horse, x": "401",
	} {
		for _, path := range []string{"/metrics", "/status"} {
			got := get(t, s, path, header, "any.example")
			if !strings.HasPrefix(got, want) || strings.Contains(got, token) {
				t.Errorf("%s with %q: %s, want %s", path, header, got, want)
			}
		}
		if got := get(t, s, "/healthz", header, "any.example"); !strings.HasPrefix(got, "200") {
			t.Errorf("a probe with %q: %s", header, got)
		}
	}
}

func TestListensOnLoopbackWithoutToken(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		_, err := Open(Options{State: NewState(), Address: address})
		if !errors.Is(err, ErrNoToken) || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %v, want %v and its remedy", address, err, ErrNoToken)
		}
	}
	s, err := Open(Options{State: NewState(), Address: "0.0.0.0:0", Token: "x"})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(Options{State: NewState(), Address: "nonsense"}); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Error(err)
	}
}

func TestAddressInUse(t *testing.T) {
	s := run(t, Options{Address: "127.0.0.1:0"})
	if _, err := Open(Options{State: NewState(), Address: s.Address()}); err == nil || !strings.Contains(err.Error(), "choose another address") {
		t.Error(err)
	}
}

func socketPath(t *testing.T) string { return filepath.Join(t.TempDir(), "control", "control.sock") }

func TestOrders(t *testing.T) {
	path := socketPath(t)
	var given []string
	note := func(name string) func(context.Context) error {
		return func(context.Context) error { given = append(given, name); return nil }
	}
	run(t, Options{Socket: path, Orders: Orders{
		Pause: note("pause"), Resume: note("resume"), Rebase: note("rebase"), Stop: note("stop"),
		Checkpoint: func(context.Context) (string, error) { return "step-000000009", note("checkpoint")(nil) },
	}})
	c := NewClient(path)
	ctx := t.Context()
	name, err := c.Checkpoint(ctx)
	if err := errors.Join(err, c.Pause(ctx), c.Resume(ctx), c.Rebase(ctx), c.Stop(ctx)); err != nil || name != "step-000000009" {
		t.Errorf("%q, %v", name, err)
	}
	if got := strings.Join(given, " "); got != "checkpoint pause resume rebase stop" {
		t.Error(got)
	}
	text, err := c.Status(ctx)
	var st Status
	if err := errors.Join(err, json.Unmarshal(text, &st)); err != nil || st.State != Starting {
		t.Errorf("%s, %v", text, err)
	}
	for _, p := range []string{path, path + ".lock", filepath.Dir(path)} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v; want it closed to others", p, info.Mode(), err)
		}
	}
}

func TestOrdersThatFail(t *testing.T) {
	path := socketPath(t)
	run(t, Options{Socket: path, Orders: Orders{
		Checkpoint: func(context.Context) (string, error) { return "", errors.New("disk full") },
		Resume:     func(context.Context) error { return ErrEnded },
	}})
	c := NewClient(path)
	if _, err := c.Checkpoint(t.Context()); err == nil || err.Error() != "the daemon: disk full" {
		t.Error(err)
	}
	if err := c.Pause(t.Context()); err == nil || !strings.Contains(err.Error(), "does not take that order") {
		t.Error(err)
	}
	if err := c.Resume(t.Context()); err == nil || !strings.Contains(err.Error(), "the run has ended") {
		t.Error(err)
	}
}

// An order that is being carried out when the server's end comes does not hold the end up.
func TestServerEndsUnderAnOrder(t *testing.T) {
	path := socketPath(t)
	began := make(chan struct{})
	s, err := Open(Options{State: NewState(), Socket: path, Orders: Orders{
		Pause: func(ctx context.Context) error { close(began); <-ctx.Done(); return ctx.Err() },
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, asked := make(chan error), make(chan error)
	go func() { ended <- s.Run(ctx) }()
	go func() { asked <- NewClient(path).Pause(t.Context()) }()
	<-began
	cancel()
	if err := <-asked; err == nil {
		t.Error("the order was carried out")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestNoDaemon(t *testing.T) {
	path := socketPath(t)
	if err := NewClient(path).Pause(t.Context()); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), path) {
		t.Errorf("no socket: %v", err)
	}
	leave(t, path)
	if err := NewClient(path).Stop(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("a socket that nobody listens at: %v", err)
	}
}

// leave makes what a killed daemon leaves: a socket that nobody listens at.
func leave(t *testing.T, path string) {
	t.Helper()
	s, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Listener.Close(), s.lock.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestSocketOfAKilledDaemon(t *testing.T) {
	path := socketPath(t)
	leave(t, path)
	run(t, Options{Socket: path})
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Open(Options{State: NewState(), Socket: path}); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("beside one that lives: %v", err)
	}
}

// A standby leaves the socket to who holds the run, and takes it over with the run, however long the other takes to go.
func TestSocketOfAStandby(t *testing.T) {
	path := socketPath(t)
	first, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	owned, warned := make(chan struct{}), make(chan string, 10)
	run(t, Options{Socket: path, Owned: owned, Warn: func(text string) { warned <- text }})
	close(owned)
	if text := <-warned; !strings.Contains(text, "another daemon") {
		t.Error(text)
	}
	first.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		_, err := NewClient(path).Status(t.Context())
		if err == nil {
			break
		}
		if !errors.Is(err, ErrNoDaemon) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// One that never owns the run ends without it.
func TestStandbyThatIsNeverNeeded(t *testing.T) {
	path := socketPath(t)
	run(t, Options{Socket: path, Owned: make(chan struct{})})
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestSocketInAWrongPlace(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(open, "s"): "everybody may write",
		filepath.Join(file, "s"): "not a directory",
		file:                     "is no socket",
	} {
		if _, err := Open(Options{State: NewState(), Socket: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("s", 200))
	if _, err := NewClient(long).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Error(err)
	}
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// The run folder itself will do, which others may read, whatever the umask.
func TestSocketInARunFolder(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "run", "control.sock")
	if err := os.Mkdir(filepath.Dir(path), 0o775); err != nil {
		t.Fatal(err)
	}
	run(t, Options{Socket: path})
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v; want the socket and its lock", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// Run folders may lie deeper than the kernel lets a socket's name be long.
func TestSocketWithALongPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30), "control", "control.sock")
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	leave(t, path)
	run(t, Options{Socket: path})
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClientWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		c := NewClient("x")
		if err := c.explain(&net.OpError{Op: "dial", Err: fs.ErrPermission}); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "as the user") {
			t.Error(err)
		}
		return // the superuser may open anything
	}
	path := socketPath(t)
	run(t, Options{Socket: path})
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := NewClient(path).Stop(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}

// A client that sends more than any request needs is cut off.
func TestLargeRequests(t *testing.T) {
	s := run(t, Options{Address: "127.0.0.1:0"})
	c, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", 8*maxHeader))
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c) // ends with an answer or a reset
	if errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(got), "200 OK") {
		t.Errorf("%.60s, %v", got, err)
	}
}

// A listener that fails ends Run with an error, and everything else with it.
func TestRunEndsWithItsListener(t *testing.T) {
	s, err := Open(Options{State: NewState(), Address: "127.0.0.1:0", Socket: socketPath(t)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- s.Run(t.Context()) }()
	if err := s.http.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run goes on")
	}
}
