package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/net/netutil"
)

// socket is a listener on a Unix socket that it removes when closed.
type socket struct {
	net.Listener
	path   string
	remove sync.Once
}

// Close may be called again.
func (s *socket) Close() {
	_ = s.Listener.Close()                        // the server may have closed it
	s.remove.Do(func() { _ = os.Remove(s.path) }) // one left behind is removed by the next run
}

// listenSocket listens at path, in a folder that is this user's alone.
func listenSocket(path string) (*socket, error) {
	if err := ownFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	at, release, err := socketName(path)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open control socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // it would unlink the name that socketName made up
	s := &socket{Listener: netutil.LimitListener(l, maxConnections), path: path}
	if err := os.Chmod(path, 0o600); err != nil {
		s.Close()
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	return s, nil
}

// ownFolder makes dir or checks that nobody but this user can reach into it.
func ownFolder(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", dir)
	case known && int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("folder %s belongs to another user; choose another place for the socket", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("folder %s is open to other users (%v); chmod 700 it, or choose another place for the socket", dir, info.Mode().Perm())
	}
	return nil
}

// removeStale removes the socket of a process that has ended, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is no socket; choose another place for the socket, or remove it", path)
	}
	at, release, err := socketName(path)
	if err != nil {
		return err
	}
	defer release()
	if c, err := net.Dial("unix", at); err == nil {
		_ = c.Close() // nothing was said
		return fmt.Errorf("another daemon listens at %s; stop it, or choose another place for the socket", path)
	}
	return os.Remove(path)
}

// maxSocketName is what the kernel takes, less one byte: 108 on Linux, 104 on others.
const maxSocketName = 103

// socketName returns a name of path that is short enough for the kernel, valid until release.
func socketName(path string) (name string, release func(), err error) {
	if len(path) <= maxSocketName {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path %s is longer than the %d bytes that the system takes; choose a shorter one", path, maxSocketName)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	name = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if len(name) > maxSocketName {
		_ = dir.Close() // only read
		return "", nil, fmt.Errorf("the name of %s is too long for a socket; choose a shorter one", path)
	}
	return name, func() { _ = dir.Close() }, nil
}

func (s *Server) socketServer() *http.Server {
	o := s.options.Orders
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("POST /pause", order(plain(o.Pause)))
	mux.HandleFunc("POST /resume", order(plain(o.Resume)))
	mux.HandleFunc("POST /stop", order(plain(o.Stop)))
	mux.HandleFunc("POST /checkpoint", order(o.Checkpoint))
	return s.newServer(mux) // without a limit for the answer: a checkpoint takes what it takes
}

// plain is an order that returns no word.
func plain(f func(ctx context.Context) error) func(ctx context.Context) (string, error) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context) (string, error) { return "", f(ctx) }
}

// outcome is the answer to an order.
type outcome struct {
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

func order(f func(ctx context.Context) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f == nil {
			answer(w, http.StatusNotImplemented, outcome{Error: "this run does not take that order"})
			return
		}
		result, err := f(r.Context())
		switch {
		case errors.Is(err, ErrEnded) || errors.Is(err, context.Canceled):
			answer(w, http.StatusServiceUnavailable, outcome{Error: ErrEnded.Error()})
		case err != nil:
			answer(w, http.StatusInternalServerError, outcome{Error: err.Error()})
		default:
			answer(w, http.StatusOK, outcome{Result: result})
		}
	}
}
