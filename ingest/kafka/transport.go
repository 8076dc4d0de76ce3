package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	dialTimeout = 10 * time.Second // of a connection with all its handshakes
	keepAlive   = 30 * time.Second
	// firstAnswers is how many bytes of answers a broker sends, about, before it has served a first real request.
	firstAnswers = 4 << 10
)

// NewTransport makes a transport whose connections are encrypted and authenticated as s says before they are used. An
// error of a connection says what to change and wraps ErrAuthentication, ErrTrust or ErrProtocol where trying again does
// not help; it never holds a secret. The transport's background work ends with CloseIdleConnections.
func NewTransport(s Security) (*kafkago.Transport, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	d := &dialer{security: s, net: net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}}
	d.mechanism = newMechanism(&d.security)
	return &kafkago.Transport{Dial: d.dial, DialTimeout: dialTimeout, ClientID: "mocostream"}, nil
}

// dialer makes connections. It does itself what kafka-go's transport could do, TLS and SASL: there the errors of both lose
// what they are about, and certificates and passwords are fixed for ever.
type dialer struct {
	security  Security
	mechanism *mechanism
	net       net.Dialer
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	plain, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("connect to broker %s: %w", addr, err)
	}
	conn, err := d.secure(ctx, plain, addr)
	if err != nil {
		_ = plain.Close()
		if ctx.Err() != nil && !permanent(err) {
			err = fmt.Errorf("%w (%w)", err, ctx.Err()) // it was the time or the caller, not the broker
		}
		return nil, err
	}
	return conn, nil
}

// secure encrypts and authenticates a connection within ctx.
func (d *dialer) secure(ctx context.Context, plain net.Conn, addr string) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = plain.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = plain.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	s := &d.security
	conn := net.Conn(&watched{Conn: plain, addr: addr, security: s})
	if s.TLS {
		encrypted, err := d.encrypt(ctx, plain, addr)
		if err != nil {
			return nil, err
		}
		conn = encrypted
	}
	if s.SASL != "" {
		if !s.TLS && !s.AllowPlaintext && !loopback(plain.RemoteAddr()) {
			return nil, refuse(ErrProtocol, nil, "log in to broker "+addr, "the password would go over the network unencrypted; "+
				"set %s to true (or %s, if that network is trusted)", s.setting("tls"), s.setting("allow_plaintext"))
		}
		if err := d.mechanism.authenticate(ctx, conn, addr); err != nil {
			return nil, err
		}
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return conn, plain.SetDeadline(time.Time{})
}

func (d *dialer) encrypt(ctx context.Context, plain net.Conn, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("connect to broker %s: %w", addr, err)
	}
	config, err := d.security.tlsConfig(host)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, d.security.explainTLS(addr, err)
	}
	return &encrypted{Conn: conn, addr: addr, security: &d.security}, nil
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// watched is a connection without TLS that recognises a port with it, or one that wants a login, by its first answers.
type watched struct {
	net.Conn
	addr     string
	security *Security
	read     int // bytes so far; one goroutine reads
}

// Read implements net.Conn.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.read < firstAnswers {
		err = w.look(p[:n], err)
	}
	w.read += n
	return n, err
}

// look judges what came. A TLS alert or handshake begins with 21 or 22 and version 3; as the size of a Kafka answer these
// would be hundreds of megabytes.
func (w *watched) look(p []byte, err error) error {
	s := w.security
	switch {
	case w.read == 0 && len(p) > 1 && (p[0] == 21 || p[0] == 22) && p[1] == 3:
		return refuse(ErrProtocol, err, "read from broker "+w.addr, "the port speaks TLS; set %s to true", s.setting("tls"))
	case errors.Is(err, io.EOF) && s.SASL == "":
		return s.hungUp(w.addr)
	}
	return err
}

// hungUp says what it may mean when a broker ends a young connection that nobody has logged in on.
func (s *Security) hungUp(addr string) error {
	remedy := s.setting("sasl")
	if !s.TLS {
		remedy += ") or TLS (" + s.setting("tls")
	}
	return fmt.Errorf("read from broker %s: %w: it hung up at once; it may ask for a login (%s)", addr, io.ErrUnexpectedEOF, remedy)
}

// encrypted is a connection with TLS. Since TLS 1.3 a broker may refuse a client's certificate after the handshake, with
// the first answer, or hang up on who does not log in.
type encrypted struct {
	*tls.Conn
	addr     string
	security *Security
	read     int // bytes so far; one goroutine reads
}

// Read implements net.Conn.
func (e *encrypted) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	switch {
	case remoteAlert(err):
		err = e.security.explainTLS(e.addr, err)
	case e.read < firstAnswers && errors.Is(err, io.EOF) && e.security.SASL == "":
		err = e.security.hungUp(e.addr)
	}
	e.read += n
	return n, err
}
