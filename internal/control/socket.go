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
	"golang.org/x/sys/unix"
)

// socket is a listener on a Unix socket that it removes when closed.
type socket struct {
	net.Listener
	path   string
	lock   *os.File // held while it listens, so that nobody takes the path for one left behind
	remove sync.Once
}

// Close may be called again.
func (s *socket) Close() {
	_ = s.Listener.Close() // the server may have closed it
	s.remove.Do(func() {
		_ = os.Remove(s.path) // one left behind is replaced by the next run
		_ = s.lock.Close()    // nothing was written
	})
}

// listenSocket listens at path, in a folder in which others cannot put something else there.
func listenSocket(path string) (s *socket, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open control socket: %w", err)
		}
	}()
	if err := ownFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	lock, err := lockSocket(path)
	if err != nil {
		return nil, err
	}
	if err := replaceable(path); err != nil {
		_ = lock.Close() // nothing was written
		return nil, err
	}
	l, err := bind(path)
	if err != nil {
		_ = lock.Close() // nothing was written
		return nil, err
	}
	return &socket{Listener: netutil.LimitListener(l, maxConnections), path: path, lock: lock}, nil
}

// ownFolder makes dir, or checks that it is this user's (or the system's) and not open to everybody's files.
func ownFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	switch {
	case known && owner.Uid != 0 && int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("folder %s belongs to another user; choose another place for the socket", dir)
	case info.Mode()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("everybody may write to folder %s; chmod o-w it, or choose another place for the socket", dir)
	}
	return nil
}

// lockSocket takes path for this process. The kernel gives the lock back when the file is closed or the process ends,
// however it ends. The file stays: to remove it would let two processes lock two files of one name.
func lockSocket(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close() // nothing was written
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("another daemon listens at %s; stop it, or choose another place for the socket", path)
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// replaceable checks that there is nothing at path but the socket of a process that has ended.
func replaceable(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is no socket; choose another place for the socket, or remove it", path)
	}
	return nil
}

// bind listens on a socket that is closed to others before it gets its name, whatever the umask.
func bind(path string) (*net.UnixListener, error) {
	private, err := os.MkdirTemp(filepath.Dir(path), ".control-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(private) }() // empty, and in nobody's way
	inside := filepath.Join(private, "s")
	at, release, err := socketName(inside)
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the name it knows is not the one it gets
	err = os.Chmod(inside, 0o600)
	if err == nil {
		err = os.Rename(inside, path)
	}
	if err != nil {
		_ = l.Close() // nothing was accepted
		return nil, err
	}
	return l, nil
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
	mux.HandleFunc("POST /rebase", order(plain(o.Rebase)))
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
