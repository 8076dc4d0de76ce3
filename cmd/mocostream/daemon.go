package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"mocostream/config"
	"mocostream/internal/control"

	"go.uber.org/zap"
)

type daemonCommand struct {
	configFlags
	logFlags
	AcceptChange bool `help:"Go on although keys marked accept changed since the checkpoint."`
}

// Help is shown below the flags.
func (daemonCommand) Help() string {
	return `Trains for as long as there is data and waits when there is none. SIGTERM finishes the step, writes a checkpoint and exits
with 0; SIGUSR1 writes a checkpoint. mocostream ctl asks how it is and steers it.

HTTP (daemon.http): /healthz, /readyz, /metrics (Prometheus), /status (JSON).

Example:
  mocostream daemon -c online.yaml
  mocostream ctl status --dir runs/online`
}

// Run implements the command.
func (d daemonCommand) Run(term *terminal) error {
	c, err := config.LoadForTraining(d.Config, d.Set)
	if err != nil {
		return usageError{err}
	}
	if err := checkProbes(c); err != nil {
		return err
	}
	writer := &lateWriter{Writer: term.err}
	log := d.logger(writer)
	deadline := d.shutdown(c, term, log)
	defer deadline()
	server := newServer(term, c, log)
	daemonTerm := *term
	daemonTerm.ctx, daemonTerm.stop = server.ctx, server.stop
	_, err = runSessions(&daemonTerm, sessionOptions{
		config: c, log: log, writer: writer, acceptChange: d.AcceptChange, standby: c.Daemon.Standby,
		watch: server.watch, calls: server.calls, locked: server.open, also: term.also,
	}, server.opened, nil)
	return errors.Join(err, server.close())
}

// shutdown ends the process when a stop takes longer than daemon.shutdown_timeout.
func (d daemonCommand) shutdown(c *config.Config, term *terminal, log *zap.Logger) (cancel func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-term.stop:
		case <-done:
			return
		}
		select {
		case <-time.After(c.Daemon.ShutdownTimeout):
			log.Error("stopping took longer than daemon.shutdown_timeout; the newest checkpoint is what the run goes on from",
				zap.Duration("shutdown_timeout", c.Daemon.ShutdownTimeout))
			os.Exit(exitFailed)
		case <-done:
		}
	}()
	return func() { close(done) }
}

// server is a daemon's outside: what answers and what orders. It opens once the run folder is this process's own.
type server struct {
	ctx     context.Context // of the process
	cancel  context.CancelFunc
	outside *control.Server // nil: not open yet
	serving chan error

	config *config.Config
	log    *zap.Logger
	watch  *watch
	calls  *control.Calls

	once sync.Once
	stop chan struct{} // closed by an order to stop

	mu      sync.Mutex
	session *session // nil: still opening
}

// opened tells the server of the session that it is about from now on.
func (d *server) opened(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session = s
}

func (d *server) current() *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session
}

func newServer(term *terminal, c *config.Config, log *zap.Logger) *server {
	d := &server{config: c, log: log, watch: newWatch(), calls: control.NewCalls(), stop: make(chan struct{}), serving: make(chan error, 1)}
	d.ctx, d.cancel = context.WithCancel(term.ctx)
	go d.signals(term.stop)
	return d
}

// open begins to answer. A session after the first finds it open.
func (d *server) open() (err error) {
	if d.outside != nil {
		return nil
	}
	if d.outside, err = control.Open(d.options()); err != nil {
		return usageError{err}
	}
	d.log.Info("listening", zap.String("http", d.outside.Address()), zap.String("socket", d.socket()))
	go func() { d.serving <- d.outside.Run(d.ctx) }()
	return nil
}

// close ends what answers.
func (d *server) close() error {
	d.calls.End()
	d.cancel()
	if d.outside == nil {
		return nil
	}
	return <-d.serving
}

// signals turns SIGUSR1 into a checkpoint and a stop of the process into one of the run.
func (d *server) signals(stop <-chan struct{}) {
	ctx := d.ctx
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	defer signal.Stop(usr1)
	for {
		select {
		case <-usr1:
			if _, err := d.checkpoint(ctx); err != nil {
				d.log.Warn("no checkpoint", zap.Error(err))
			}
		case <-stop:
			_ = d.order(ctx) // never fails
			return
		case <-ctx.Done():
			return
		}
	}
}

func (d *server) socket() string {
	if d.config.Daemon.Socket != "" {
		return d.config.Daemon.Socket
	}
	return filepath.Join(d.config.Sink.Dir, socketName)
}

func (d *server) options() control.Options {
	return control.Options{
		Address: d.config.Daemon.HTTP, Token: d.config.Daemon.Token, Socket: d.socket(), State: d.watch.state,
		StallTimeout: d.config.Daemon.StallTimeout, Metrics: d.watch.handler(), Status: d.watch.status, Warn: warner(d.log),
		Orders: control.Orders{Pause: d.pause, Resume: d.resume, Rebase: d.rebase, Stop: d.order, Checkpoint: d.checkpoint},
	}
}

// order ends the run after the step in hand.
func (d *server) order(context.Context) error {
	d.once.Do(func() {
		d.watch.state.Stopping()
		close(d.stop)
	})
	return nil
}

func (d *server) pause(ctx context.Context) error {
	return d.calls.Do(ctx, func(context.Context) error {
		d.current().loop.Pause()
		d.watch.state.Paused(true)
		return nil
	})
}

func (d *server) resume(ctx context.Context) error {
	return d.calls.Do(ctx, func(context.Context) error {
		d.current().loop.Resume()
		d.watch.state.Paused(false)
		return nil
	})
}

// rebase answers that no drift is measured without ending the run for it.
func (d *server) rebase(ctx context.Context) (err error) {
	return errors.Join(d.calls.Do(ctx, func(context.Context) error {
		err = d.current().monitors.rebase()
		return nil
	}), err)
}

func (d *server) checkpoint(ctx context.Context) (name string, err error) {
	err = d.calls.Do(ctx, func(ctx context.Context) (err error) {
		name, err = d.current().loop.Save(ctx)
		return err
	})
	return name, err
}
