package objects

import (
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// route is where and how the SDK asks for the objects of a bucket. A GET costs the SDK about as much as all else that is
// done for an image of 100 kB: it decides anew each time what the first request for a bucket has shown. Once one has
// succeeded, others are made directly; one that is refused sends the next through the SDK again.
type route struct {
	scheme, host string
	path, raw    string // in front of the key, and the same escaped; "" if they do not differ
	region       string // to sign for; "" without a signature
}

// learnKey is the context's key of a *lesson.
type learnKey struct{}

// lesson is a request of the SDK's for an object, as it left.
type lesson struct {
	key     string
	request *http.Request
}

// noteRequest keeps a request that somebody wants to learn from.
func noteRequest(r *http.Request) {
	if l, ok := r.Context().Value(learnKey{}).(*lesson); ok {
		l.request = r
	}
}

const (
	// clockSkew is how far off a request's date may be; the SDK corrects a clock that is wrong, and route does not.
	clockSkew = time.Minute
	// noContent is the SHA-256 of an empty body.
	noContent = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	// limitRefusal is how much of an error's text is read, in bytes.
	limitRefusal = 64 << 10
)

// route returns what the request shows, nil for one that is not signed, or addressed, in the way of most.
func (l *lesson) route(anonymous bool) *route {
	if l.request == nil {
		return nil
	}
	u, header := l.request.URL, l.request.Header
	path, found := strings.CutSuffix(u.Path, "/"+l.key)
	raw, same := strings.CutSuffix(u.EscapedPath(), "/"+httpbinding.EscapePath(l.key, false))
	if !found || !same {
		return nil
	}
	out := &route{scheme: u.Scheme, host: u.Host, path: path, raw: raw}
	if anonymous {
		return out
	}
	scope, found := strings.CutPrefix(header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=")
	scope, _, _ = strings.Cut(scope, ",")
	parts := strings.Split(scope, "/") // key, date, region, service, aws4_request
	n := len(parts)
	if !found || n < 5 || parts[n-2] != "s3" {
		return nil
	}
	out.region = parts[n-3]
	when, err := time.Parse("20060102T150405Z", header.Get("X-Amz-Date"))
	if err != nil || time.Since(when).Abs() > clockSkew {
		return nil
	}
	return out
}

// get asks for an object, directly where the way is known.
func (c *Client) get(ctx context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	bucket := aws.ToString(in.Bucket)
	if known, ok := c.routes.Load(bucket); ok {
		out, err := c.getDirectly(ctx, known.(*route), in)
		if err != nil {
			c.routes.Delete(bucket)
		}
		return out, err
	}
	l := &lesson{key: aws.ToString(in.Key)}
	out, err := c.s3.GetObject(context.WithValue(ctx, learnKey{}, l), in, askChecksums)
	if err != nil {
		return nil, err
	}
	if known := l.route(c.opts.Anonymous); known != nil {
		c.routes.Store(bucket, known)
	}
	return out, nil
}

func (c *Client) getDirectly(ctx context.Context, known *route, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	request, err := known.request(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := c.sign(ctx, known, request); err != nil {
		return nil, err
	}
	request.Header["Accept-Encoding"] = []string{"identity"} // not signed: some proxies change it
	c.requests.Add(1)
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusPartialContent {
		defer answer.Body.Close()
		return nil, refusal(answer)
	}
	return outputOf(answer), nil
}

func (r *route) request(ctx context.Context, in *s3.GetObjectInput) (*http.Request, error) {
	key := aws.ToString(in.Key)
	u := &url.URL{
		Scheme: r.scheme, Host: r.host, RawQuery: "x-id=GetObject",
		Path: r.path + "/" + key, RawPath: r.raw + "/" + httpbinding.EscapePath(key, false),
	}
	if in.VersionId != nil {
		u.RawQuery = "versionId=" + url.QueryEscape(*in.VersionId) + "&" + u.RawQuery
	}
	request := &http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"User-Agent": {"mocostream"}, "X-Amz-Checksum-Mode": {"ENABLED"}, "X-Amz-Content-Sha256": {noContent},
		},
	}
	if in.IfMatch != nil {
		request.Header["If-Match"] = []string{*in.IfMatch}
	}
	if in.Range != nil {
		request.Header["Range"] = []string{*in.Range}
	}
	return request.WithContext(ctx), nil
}

func (c *Client) sign(ctx context.Context, known *route, request *http.Request) error {
	if known.region == "" {
		return nil
	}
	secret, err := c.creds.Retrieve(ctx)
	if err != nil {
		return err
	}
	return c.signer.SignHTTP(ctx, secret, request, noContent, "s3", known.region, time.Now(), func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true // as S3 has it
	})
}

// refusal is what the SDK makes of an answer that is an error, as far as judge looks at it.
func refusal(answer *http.Response) error {
	var said struct{ Code, Message string }
	text, err := io.ReadAll(io.LimitReader(answer.Body, limitRefusal))
	if err != nil || xml.Unmarshal(text, &said) != nil || said.Code == "" {
		said.Code, said.Message = strings.ReplaceAll(http.StatusText(answer.StatusCode), " ", ""), ""
	}
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: answer},
		Err:      &smithy.GenericAPIError{Code: said.Code, Message: said.Message},
	}
}

// outputOf fills in what reader and verifier look at.
func outputOf(answer *http.Response) *s3.GetObjectOutput {
	text := func(name string) *string {
		if values := answer.Header[name]; len(values) > 0 {
			return &values[0]
		}
		return nil
	}
	out := &s3.GetObjectOutput{
		Body: answer.Body, ETag: text("Etag"), ContentRange: text("Content-Range"),
		SSECustomerAlgorithm: text("X-Amz-Server-Side-Encryption-Customer-Algorithm"),
		ChecksumCRC32C:       text("X-Amz-Checksum-Crc32c"), ChecksumCRC32: text("X-Amz-Checksum-Crc32"),
		ChecksumCRC64NVME: text("X-Amz-Checksum-Crc64nvme"), ChecksumSHA256: text("X-Amz-Checksum-Sha256"),
		ChecksumSHA1:         text("X-Amz-Checksum-Sha1"),
		ChecksumType:         types.ChecksumType(aws.ToString(text("X-Amz-Checksum-Type"))),
		ServerSideEncryption: types.ServerSideEncryption(aws.ToString(text("X-Amz-Server-Side-Encryption"))),
	}
	if answer.ContentLength >= 0 {
		out.ContentLength = &answer.ContentLength
	}
	return out
}
