package objects

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// Client reads and writes objects. All its methods may be called concurrently; it holds nothing that needs closing but
// idle connections, see Close.
type Client struct {
	s3    *s3.Client
	http  *http.Client
	creds *credentials
	opts  Options
	sums  bool // the server is asked to keep checksums of what is put

	multipartAbove, leastPart int64 // the constants, smaller in tests
	pace                      pace

	spare                               sync.Pool // *[]byte, parts of GetParallel
	warned                              sync.Map  // key of a warning -> struct{}
	answered                            atomic.Bool
	requests, retries, bytes, throttled atomic.Uint64
}

// Open makes a client. It calls the credential functions once, so that a missing secret is seen at the start, and
// contacts no server. An http Endpoint that is not loopback is refused unless AllowHTTP is set.
func Open(ctx context.Context, opts Options) (*Client, error) {
	opts = withDefaults(opts)
	sums, err := checksums(opts)
	if err != nil {
		return nil, err
	}
	creds := newCredentials(opts)
	cfg, err := config.LoadDefaultConfig(ctx, creds.loadOptions()...)
	if err != nil {
		return nil, fmt.Errorf("load S3 configuration: %s", creds.redact(err.Error()))
	}
	cfg.Logger = logging.Nop{} // what matters comes as an error
	if err := creds.start(ctx, cfg); err != nil {
		return nil, err
	}
	c := &Client{creds: creds, opts: opts, sums: sums, http: newHTTPClient()}
	c.multipartAbove, c.leastPart = multipartAbove, leastPart
	c.pace = newPace()
	c.s3 = s3.NewFromConfig(cfg, c.configure)
	if base := c.s3.Options().BaseEndpoint; base != nil { // also from the environment or a profile
		if err := checkEndpoint(*base, opts.AllowHTTP); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Close ends idle connections. Readers that are open go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Stats returns what has been asked so far.
func (c *Client) Stats() Stats {
	return Stats{
		Requests: c.requests.Load(), Retries: c.retries.Load(),
		Bytes: c.bytes.Load(), Throttled: c.throttled.Load(),
	}
}

func withDefaults(opts Options) Options {
	if opts.Deadline <= 0 {
		opts.Deadline = 2 * time.Minute
	}
	if opts.MaxBackoff <= 0 {
		opts.MaxBackoff = 5 * time.Second
	}
	if opts.Stall <= 0 {
		opts.Stall = 30 * time.Second
	}
	return opts
}

// checksums says whether the server is asked to keep checksums. Servers that are not AWS's often know neither the headers
// nor the trailers.
func checksums(opts Options) (bool, error) {
	switch opts.Checksum {
	case "", "auto":
		return opts.Endpoint == "", nil
	case "when_supported":
		return true, nil
	case "when_required":
		return false, nil
	}
	return false, fmt.Errorf("checksum %q: want auto, when_supported or when_required", opts.Checksum)
}

// configure leaves retries to persist: the SDK's own have a quota that a burst of 503s uses up for all that follows, and
// end where an answer's body begins.
func (c *Client) configure(o *s3.Options) {
	if c.opts.Endpoint != "" {
		o.BaseEndpoint = aws.String(c.opts.Endpoint)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	o.UsePathStyle = c.opts.PathStyle
	o.Credentials = c.creds
	if c.opts.Anonymous {
		o.Credentials = aws.AnonymousCredentials{}
	}
	o.Retryer = aws.NopRetryer{}
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	if c.sums {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenSupported
	}
	// Answers are verified by verifier, which also does so across the seams of a read taken up again.
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.DisableLogOutputChecksumValidationSkipped = true
	o.HTTPClient = counter{client: c.http, requests: &c.requests}
}

// counter counts the requests that leave.
type counter struct {
	client   *http.Client
	requests *atomic.Uint64
}

func (d counter) Do(r *http.Request) (*http.Response, error) {
	d.requests.Add(1)
	return d.client.Do(r)
}

// newHTTPClient returns a client for many concurrent transfers from one host.
func newHTTPClient() *http.Client {
	transport := awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = 10 * time.Second
	}).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = 256
		t.MaxIdleConnsPerHost = 128
		t.DisableCompression = true // bytes are taken as they are stored
	}).GetTransport()
	return &http.Client{Transport: transport, CheckRedirect: followSafely}
}

// followSafely follows what keeps the method, and never from https to http.
func followSafely(r *http.Request, via []*http.Request) error {
	status := r.Response.StatusCode
	keeps := status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect
	last := via[len(via)-1].URL
	if !keeps || len(via) > 5 || (last.Scheme == "https" && r.URL.Scheme != "https") {
		return http.ErrUseLastResponse
	}
	if last.Host != r.URL.Host {
		r.Header.Del("X-Amz-Security-Token")
	}
	return nil
}

// checkEndpoint refuses what would send data or credentials in the clear, and what would put credentials into errors.
func checkEndpoint(endpoint string, allowHTTP bool) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("S3 endpoint is no URL such as https://s3.example.com or http://localhost:9000")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("S3 endpoint https://%s holds more than host and path: credentials have their own settings", u.Host)
	}
	if u.Scheme == "http" && !allowHTTP && !loopback(u.Hostname()) {
		return fmt.Errorf("S3 endpoint http://%s would send data and credentials in the clear: "+
			"use https, or set allow_http if everything on the way there is trusted", u.Host)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// warnOnce tells a person once for each key.
func (c *Client) warnOnce(key, format string, args ...any) {
	if c.opts.Warn == nil {
		return
	}
	if _, told := c.warned.LoadOrStore(key, struct{}{}); !told {
		c.opts.Warn(c.creds.redact(fmt.Sprintf(format, args...)))
	}
}
