package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	clientID = "mocostream"
	// controlLimit is the largest answer to anything but a fetch, in bytes.
	controlLimit = 64 << 20
	// readStep is how much is read under one deadline, in bytes.
	readStep = 256 << 10
)

// errAbandoned ends an exchange whose caller is gone.
var errAbandoned = errors.New("request was abandoned")

// exchange is one request that kafka-go routes to a broker over a connection it has opened, secured and authenticated,
// but that we write and read ourselves: newer versions than kafka-go's, topic ids, and answers whose size is known
// before they are read.
type exchange struct {
	ctx         context.Context // of this one call
	broker      int32           // -1: any
	key         int16
	wire        []byte // framed request
	correlation int32
	timeout     time.Duration // without a byte
	// read takes the answer of size bytes, correlation id included, from r. It runs on kafka-go's goroutine.
	read func(r *answer, size int) error

	started atomic.Bool
	done    chan struct{} // closed when RawExchange returns
}

var (
	_ protocol.BrokerMessage = (*exchange)(nil)
	_ protocol.RawExchanger  = (*exchange)(nil)
)

// ApiKey implements protocol.Message.
func (e *exchange) ApiKey() protocol.ApiKey { return protocol.ApiKey(e.key) }

// Broker implements protocol.BrokerMessage.
func (e *exchange) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: e.broker}, nil
}

// Required implements protocol.RawExchanger.
func (e *exchange) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements protocol.RawExchanger.
func (e *exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if !e.started.CompareAndSwap(false, true) {
		return nil, errAbandoned
	}
	defer close(e.done)
	conn, ok := rw.(net.Conn)
	if !ok {
		return nil, fmt.Errorf("exchange request: %T is not a connection", rw)
	}
	a := &answer{conn: conn, ctx: e.ctx, timeout: e.timeout}
	stop := context.AfterFunc(e.ctx, a.interrupt)
	defer stop()
	a.extend()
	if _, err := conn.Write(e.wire); err != nil {
		return nil, err
	}
	if err := e.answer(a); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, e.ctx.Err() // the connection's deadline has passed: it must not be used again
	}
	return e, conn.SetDeadline(time.Time{})
}

// answer reads the frame's head and leaves the rest to read.
func (e *exchange) answer(a *answer) error {
	var head [4]byte
	if _, err := io.ReadFull(a, head[:]); err != nil {
		return err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:])))
	if size < 4 {
		return fmt.Errorf("read answer: frame of %d bytes", size)
	}
	if _, err := io.ReadFull(a, head[:]); err != nil {
		return err
	}
	if got := int32(binary.BigEndian.Uint32(head[:])); got != e.correlation {
		return fmt.Errorf("read answer: it is to request %d, not %d", got, e.correlation)
	}
	return e.read(a, size-4)
}

// answer is a connection that is read under a deadline which moves on with every step.
type answer struct {
	ctx     context.Context
	conn    net.Conn
	timeout time.Duration
	mu      sync.Mutex // of the deadline: an interrupt is final
	stopped bool
}

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	a.extend()
	n, err := a.conn.Read(p[:min(len(p), readStep)])
	if err != nil && a.ctx.Err() != nil {
		return n, a.ctx.Err()
	}
	return n, err
}

func (a *answer) extend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped {
		_ = a.conn.SetDeadline(time.Now().Add(a.timeout)) // a closed connection shows at the next read
	}
}

func (a *answer) interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	_ = a.conn.SetDeadline(time.Unix(1, 0)) // likewise
}

// client sends requests to a cluster. Methods may be called concurrently.
type client struct {
	transport *kafkago.Transport
	addr      net.Addr
	timeout   time.Duration
	next      atomic.Int32 // correlation id
	format    *kmsg.RequestFormatter

	mu       sync.Mutex
	versions map[int16]int16 // newest version of a request that the brokers know; nil: not asked yet
}

func newClient(transport *kafkago.Transport, brokers []string, timeout time.Duration) *client {
	return &client{
		transport: transport,
		addr:      kafkago.TCP(brokers...),
		timeout:   timeout,
		format:    kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)),
	}
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// exchange sends req to a broker (-1: any) and has its answer read. It fails when no connection or, waiting extra longer, no byte comes
// within the client's timeout. When it returns, read has returned too.
func (c *client) exchange(ctx context.Context, broker int32, req kmsg.Request, extra time.Duration, read func(*answer, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := &exchange{ctx: ctx, broker: broker, key: req.Key(), correlation: c.next.Add(1), timeout: c.timeout + extra, read: read,
		done: make(chan struct{})}
	e.wire = c.format.AppendRequest(nil, req, e.correlation)
	connecting := time.AfterFunc(c.timeout, func() {
		if !e.started.Load() {
			cancel(errors.New("no connection within " + c.timeout.String()))
		}
	})
	defer connecting.Stop()
	_, err := c.transport.RoundTrip(ctx, c.addr, e)
	if !e.started.CompareAndSwap(false, true) {
		cancel(nil)
		<-e.done
	}
	if err != nil && ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Cause(ctx)
	}
	return err
}

// ask sends a small request in the version set and returns its parsed answer.
func (c *client) ask(ctx context.Context, broker int32, req kmsg.Request) (kmsg.Response, error) {
	res := req.ResponseKind()
	err := c.exchange(ctx, broker, req, 0, func(a *answer, size int) error {
		if size > controlLimit {
			return fmt.Errorf("read answer: %d bytes are above the limit of %d", size, controlLimit)
		}
		body, err := readBody(a, size)
		if err != nil {
			return err
		}
		if body, err = skipTags(body, res); err != nil {
			return err
		}
		return res.ReadFrom(body)
	})
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return res, nil
}

// readBody reads size bytes, allocating no more than what has come and as much again.
func readBody(r io.Reader, size int) ([]byte, error) {
	body := make([]byte, 0, min(size, readStep))
	for len(body) < size {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, min(size, 2*cap(body))), body...)
		}
		n, err := io.ReadFull(r, body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err != nil {
			return nil, err
		}
	}
	return body, nil
}

// skipTags passes over the tagged fields that head a flexible answer.
func skipTags(body []byte, res kmsg.Response) ([]byte, error) {
	if !res.IsFlexible() || res.Key() == int16(kmsg.ApiVersions) {
		return body, nil
	}
	count, body, err := uvarint(body)
	for ; err == nil && count > 0; count-- {
		if _, body, err = uvarint(body); err != nil {
			break
		}
		var size uint64
		if size, body, err = uvarint(body); err != nil {
			break
		}
		if size > uint64(len(body)) {
			return nil, io.ErrUnexpectedEOF
		}
		body = body[size:]
	}
	return body, err
}

func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return v, b[n:], nil
}

// version returns the newest version, at most newest, in which the brokers know a request, and -1 where that is below oldest.
func (c *client) version(ctx context.Context, key kmsg.Key, oldest, newest int16) (int16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.versions == nil {
		req := kmsg.NewPtrApiVersionsRequest() // version 0, which every broker answers
		res, err := c.ask(ctx, -1, req)
		if err != nil {
			return -1, err
		}
		known := res.(*kmsg.ApiVersionsResponse)
		if known.ErrorCode != 0 {
			return -1, fmt.Errorf("ask for versions: %w", kafkago.Error(known.ErrorCode))
		}
		c.versions = map[int16]int16{}
		for _, k := range known.ApiKeys {
			c.versions[k.ApiKey] = k.MaxVersion
		}
	}
	known, ok := c.versions[int16(key)]
	if !ok || known < oldest {
		return -1, nil
	}
	return min(known, newest), nil
}
