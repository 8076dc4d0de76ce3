package objects

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"
)

// SendInParts has objects above a size go in parts of it, both in bytes.
func (c *Client) SendInParts(above int64) { c.multipartAbove, c.leastPart = above, above }

// SetPace has Stream look every so many bytes whether the client gets enough bytes per second.
func (c *Client) SetPace(look int64, enough float64) {
	c.pace = newPace()
	c.pace.look, c.pace.enough = look, enough
}

var (
	ContentRange = contentRange
	NewNVMe      = newNVMe
)

// Redact takes out secrets as errors do.
func (c *Client) Redact(text string) string { return c.creds.redact(text) }

// Forget has the next read of each bucket go through the SDK.
func (c *Client) Forget() { c.routes.Clear() }

// NowAmz is the date of a request that is made now.
func NowAmz() string { return time.Now().UTC().Format("20060102T150405Z") }

// RouteOf says what is learned from a request for a key: URL of the bucket and region, "" for nothing.
func RouteOf(key string, r *http.Request) string {
	known := (&lesson{key: key, request: r}).route(false)
	if known == nil {
		return ""
	}
	return strings.TrimSpace(known.scheme + "://" + known.host + known.raw + " " + known.region)
}

// Refusal is the error that an answer becomes.
func Refusal(body []byte, status int) error {
	return refusal(&http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))})
}
