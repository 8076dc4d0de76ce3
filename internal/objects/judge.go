package objects

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

type verdict int

const (
	fatal     verdict = iota // trying again does not help
	transient                // it may
	throttled                // it will, later
	refused                  // it may with other credentials
)

// judgement is what a failed try means.
type judgement struct {
	verdict verdict
	err     error         // for the caller, if this was the last try
	reason  string        // what happened, without the operation
	after   time.Duration // the wait that the server asked for
}

// failure is an error that a caller sees: its own text, free of credentials, and the sentinel that it stands for. It does
// not wrap the SDK's error, whose text nobody controls.
type failure struct {
	kind error // nil without a sentinel
	text string
}

func (f *failure) Error() string {
	if f.kind == nil {
		return f.text
	}
	return f.text + ": " + f.kind.Error()
}

func (f *failure) Unwrap() error { return f.kind }

// broken is an answer that cannot be true, of which another try may give a better one.
type broken struct{ why string }

func (b *broken) Error() string { return b.why }

// judge classifies the error of one try.
func (c *Client) judge(what call, err error) judgement {
	var own *failure
	if errors.As(err, &own) {
		return judgement{verdict: fatal, err: own}
	}
	status, after := httpStatus(err)
	code, message := apiError(err)
	found := judgement{after: after, reason: c.creds.redact(reason(err, status, code, message))}
	var kind error
	found.verdict, kind = classify(err, status, code)
	if !c.answered.Load() && hopeless(err) {
		found.verdict = fatal
	}
	remedy := remedies[code]
	if remedy == "" && kind == ErrCredentials {
		remedy = "renew the credentials and resume"
	}
	if remedy != "" {
		remedy = "; " + remedy
	}
	found.err = &failure{kind: kind, text: fmt.Sprintf("%s: %s%s", what, found.reason, remedy)}
	return found
}

// remedies by error code.
var remedies = map[string]string{
	"AccessDenied":                 "allow these credentials s3:GetObject and s3:ListBucket here (s3:PutObject for writing)",
	"NoSuchBucket":                 "create the bucket or correct its name",
	"PermanentRedirect":            "the bucket is in another region; set the region",
	"AuthorizationHeaderMalformed": "the bucket may be in another region; set the region",
	"InvalidObjectState":           "the object is archived; restore it first",
	"NotImplemented":               "this server lacks the operation; another checksum setting may avoid it",
}

func classify(err error, status int, code string) (verdict, error) {
	var denied *credentialsError
	if errors.As(err, &denied) {
		return refused, ErrCredentials
	}
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId",
		"SignatureDoesNotMatch", "RequestExpired", "InvalidClientTokenId":
		return refused, ErrCredentials
	case "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded",
		"TooManyRequestsException", "BandwidthLimitExceeded", "SlowDownRead", "SlowDownWrite", "ReduceRequestRate":
		return throttled, nil
	case "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "OperationAborted", "ConditionalRequestConflict",
		"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody":
		return transient, nil
	case "PreconditionFailed":
		return fatal, ErrChanged // Put makes ErrExists of it
	case "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound":
		return fatal, fs.ErrNotExist
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return fatal, fs.ErrPermission
	case "NotImplemented":
		return fatal, nil
	}
	return byStatus(err, status)
}

// byStatus judges answers without a code that is known, and failures without an answer.
func byStatus(err error, status int) (verdict, error) {
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return throttled, nil // answers to HEAD say no more
	case status == http.StatusRequestTimeout, status >= 500 && status != http.StatusNotImplemented:
		return transient, nil
	case status == http.StatusNotFound:
		return fatal, fs.ErrNotExist
	case status == http.StatusForbidden:
		return fatal, fs.ErrPermission
	case status == http.StatusPreconditionFailed, status == http.StatusRequestedRangeNotSatisfiable:
		return fatal, ErrChanged
	case status >= 300:
		return fatal, nil
	}
	var invalid smithy.InvalidParamsError
	if errors.As(err, &invalid) {
		return fatal, nil
	}
	return transient, nil // nothing answered, or what did was cut short
}

// hopeless says that a server which never answered yet has a name or a certificate that looks wrong.
func hopeless(err error) bool {
	var name *net.DNSError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	return (errors.As(err, &name) && name.IsNotFound) ||
		errors.As(err, &invalid) || errors.As(err, &host) || errors.As(err, &authority)
}

// httpStatus returns the status of the answer, 0 without one, and the wait that it asks for.
func httpStatus(err error) (int, time.Duration) {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil {
		return 0, 0
	}
	seconds, _ := strconv.Atoi(answer.Response.Header.Get("Retry-After"))
	return answer.HTTPStatusCode(), time.Duration(max(seconds, 0)) * time.Second
}

func apiError(err error) (code, message string) {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode(), api.ErrorMessage()
	}
	return "", ""
}

// reason tells what happened in one line. What a server wrote is cut to a readable length.
func reason(err error, status int, code, message string) string {
	const longest = 300
	text := ""
	switch {
	case code != "" && message != "" && message != code:
		text = fmt.Sprintf("%s: %s", code, message)
	case code != "":
		text = code
	default:
		text = root(err).Error()
	}
	if len(text) > longest {
		text = text[:longest] + "..."
	}
	if status != 0 {
		text = fmt.Sprintf("%s (HTTP %d)", text, status)
	}
	return text
}

// root leaves out the SDK's layers around a failure of the network, the request's URL among them.
func root(err error) error {
	var denied *credentialsError
	if errors.As(err, &denied) {
		return denied
	}
	var network *net.OpError
	if errors.As(err, &network) {
		return network
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
