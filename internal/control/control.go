// Package control lets others watch and steer a daemon: HTTP for probes, metrics and status, a Unix socket that only the
// daemon's owner can open for orders, and systemd's notifications. It knows nothing of training; the loop tells a State
// what it is doing and takes orders through Calls.
//
//	HTTP    GET /healthz   200, or 503 when data waits and nothing was finished for StallTimeout; one word
//	        GET /readyz    200 while training, waiting for data or paused, else 503; one word
//	        GET /metrics   Options.Metrics
//	        GET /status    Status, JSON
//	socket  GET /status    the same
//	        POST /pause /resume /rebase /checkpoint /stop
package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options says where a Server listens and what it answers. State is required, and is judged by these options from then on.
type Options struct {
	// Address is the host:port of HTTP, "" for none; port 0 takes a free one. Beyond loopback a Token is required.
	Address string
	// Token is what a client must send as "Authorization: Bearer TOKEN" for /metrics and /status. Probes need none: they
	// reveal one word. "": none.
	Token string
	// Socket is the path of the Unix socket, "" for none. It is made 0600, in a folder of this user's (made 0700 if it is not
	// there). The socket of a process that has ended is replaced, never one that somebody listens at: the file SOCKET.lock
	// beside it stays locked.
	Socket string
	// Owned is closed when this process has the run's lock: the socket is opened only then, again and again until it can be,
	// since a standby takes no orders and who held the lock before may still be on its way out. nil: Open opens it.
	Owned <-chan struct{}

	State *State
	// StallTimeout is how long nothing may be finished while data waits. It should be longer than a step, a probe or a
	// checkpoint takes. 0: for ever.
	StallTimeout time.Duration
	// DataWaits tells whether there is data to train on although the loop waits for some: batches that nobody takes. A
	// rest that does not fill a batch is none. nil: who waits has no data. Called concurrently, must not block.
	DataWaits func() bool

	Metrics http.Handler // of /metrics; nil: 404
	Status  func() any   // "run" of /status, to be rendered as JSON; nil: none. Called concurrently; holds no secrets
	Orders  Orders
	Warn    func(text string) // what an operator should know; nil: nobody hears of it
}

// Orders are what the socket's clients may ask for. Each may block until it is done; nil ones are refused. Their errors
// are shown to the client.
type Orders struct {
	Pause, Resume, Stop func(ctx context.Context) error
	// Rebase has the reference that drift is measured from taken anew.
	Rebase func(ctx context.Context) error
	// Checkpoint makes the last finished step durable and returns the checkpoint's name.
	Checkpoint func(ctx context.Context) (name string, err error)
}

// Server answers until its Run ends.
type Server struct {
	options Options
	http    net.Listener // nil: none
	socket  *socket      // nil: none, or not yet
}

// Open listens. The caller calls Run, or Close if it never comes to that.
func Open(o Options) (*Server, error) {
	if o.State == nil {
		return nil, errors.New("control: Options.State is missing")
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	s := &Server{options: o}
	o.State.judgedBy(health{stall: o.StallTimeout, waits: o.DataWaits}.stalled)
	var err error
	if o.Address != "" {
		if s.http, err = listenHTTP(o.Address, o.Token); err != nil {
			return nil, err
		}
	}
	if o.Socket != "" && o.Owned == nil {
		if s.socket, err = listenSocket(o.Socket); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Address is where HTTP listens, "" if it does not.
func (s *Server) Address() string {
	if s.http == nil {
		return ""
	}
	return s.http.Addr().String()
}

// Close gives the listeners back. It is for a Server that is never Run, and a no-op after Run.
func (s *Server) Close() {
	if s.http != nil {
		_ = s.http.Close() // the server may have closed it
	}
	if s.socket != nil {
		s.socket.Close()
	}
}

// Run answers, and tells systemd, until ctx ends or a listener fails; then it lets answers under way finish for a moment
// and returns when everything that it started has ended. The daemon's last checkpoint comes before ctx ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	group, ctx := errgroup.WithContext(ctx)
	if s.http != nil {
		group.Go(func() error { return serve(ctx, s.httpServer(), s.http) })
	}
	group.Go(func() error { return s.takeOrders(ctx) })
	group.Go(func() error { s.notifier().run(ctx); return nil })
	return group.Wait()
}

// takeOrders serves the socket, if there is to be one, once this process owns the run.
func (s *Server) takeOrders(ctx context.Context) error {
	if s.socket == nil {
		if s.options.Socket == "" || !s.openSocket(ctx) {
			return nil
		}
	}
	return serve(ctx, s.socketServer(), s.socket.Listener)
}

// retryTime is between two tries to open the socket.
const retryTime = time.Second

// openSocket opens the socket once this process owns the run; false if ctx ends first.
func (s *Server) openSocket(ctx context.Context) bool {
	select {
	case <-s.options.Owned:
	case <-ctx.Done():
		return false
	}
	retry := time.NewTicker(retryTime)
	defer retry.Stop()
	for try := 0; ; try++ {
		var err error
		if s.socket, err = listenSocket(s.options.Socket); err == nil {
			return true
		}
		if try == 0 {
			s.options.Warn(err.Error() + "; trying again")
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return false
		}
	}
}

// graceTime is what answers under way get to finish.
const graceTime = 2 * time.Second

// serve serves until ctx ends; orders under way are cancelled with it.
func serve(ctx context.Context, server *http.Server, l net.Listener) error {
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		_ = server.Close() // Serve's error says it all
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close() // cuts off who did not finish
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}
