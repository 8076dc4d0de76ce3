package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// ErrNoDaemon is wrapped by a Client's errors when nothing listens at the socket.
var ErrNoDaemon = errors.New("no daemon is running there")

// Client gives orders to the daemon that listens at a Unix socket. Its methods may be called concurrently.
type Client struct {
	path string
	http *http.Client
}

// NewClient makes a client of the socket at path. Nothing is opened yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		at, release, err := socketName(path)
		if err != nil {
			return nil, err
		}
		defer release()
		return new(net.Dialer).DialContext(ctx, "unix", at)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status returns the daemon's Status, as it sent it.
func (c *Client) Status(ctx context.Context) (json.RawMessage, error) {
	return c.ask(ctx, http.MethodGet, "/status")
}

// Pause has training stand still from the next step on. It returns when it does.
func (c *Client) Pause(ctx context.Context) error {
	_, err := c.order(ctx, "/pause")
	return err
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context) error {
	_, err := c.order(ctx, "/resume")
	return err
}

// Checkpoint has the last finished step made durable and returns the checkpoint's name.
func (c *Client) Checkpoint(ctx context.Context) (name string, err error) {
	return c.order(ctx, "/checkpoint")
}

// Rebase has the reference of drift taken anew.
func (c *Client) Rebase(ctx context.Context) error {
	_, err := c.order(ctx, "/rebase")
	return err
}

// Stop has the run end with a checkpoint. It returns when that has begun.
func (c *Client) Stop(ctx context.Context) error {
	_, err := c.order(ctx, "/stop")
	return err
}

func (c *Client) order(ctx context.Context, path string) (result string, err error) {
	text, err := c.ask(ctx, http.MethodPost, path)
	if err != nil {
		return "", err
	}
	var o outcome
	if err := json.Unmarshal(text, &o); err != nil {
		return "", fmt.Errorf("read the daemon's answer: %w", err)
	}
	return o.Result, nil
}

// maxAnswer bounds what a client reads, bytes.
const maxAnswer = 16 << 20

func (c *Client) ask(ctx context.Context, method, path string) (json.RawMessage, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response.Status, text)
	}
	return text, nil
}

// refusal is the error of an answer that is none.
func refusal(status string, text []byte) error {
	var o outcome
	if json.Unmarshal(text, &o) == nil && o.Error != "" {
		return fmt.Errorf("the daemon: %s", o.Error)
	}
	return fmt.Errorf("the daemon: %s", status)
}

// explain says what a failed connection means.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("open control socket %s: %w; start one, or name the folder of the run that it trains", c.path, ErrNoDaemon)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("open control socket %s: %w; ask as the user that the daemon runs as", c.path, fs.ErrPermission)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("ask the daemon at %s: it ended before it answered", c.path)
	}
	return fmt.Errorf("ask the daemon at %s: %w", c.path, err)
}
