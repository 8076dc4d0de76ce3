// Package objects is an S3 client with the rules that a run of months needs: what is read is what was listed (If-Match,
// length and checksum), a body cut short is taken up where it ended, throttling is waited for until an outer deadline,
// and expired credentials are renewed once before the caller is told to pause. It is a leaf: sources read through it
// and sinks write through it.
package objects

import (
	"errors"
	"time"
)

// Errors that tell a caller what to do. What wraps them names bucket and key, never a credential.
var (
	// ErrChanged says that an object is no longer the one asked for. Reading it again does not help.
	ErrChanged = errors.New("object changed since it was listed")
	// ErrExists says that a conditional Put lost: the object is there already (or no longer the one to replace).
	ErrExists = errors.New("object exists already")
	// ErrCredentials says that the credentials were refused, also after they were renewed: pause, ask for others.
	ErrCredentials = errors.New("credentials refused")
	// ErrCorrupt says that the bytes read are not those that were stored (checksum). Open the object again: what broke on
	// the way is whole the next time, what comes back the same is damaged in the store.
	ErrCorrupt = errors.New("object is corrupt")
	// ErrUnavailable says that the server did not answer well within Options.Deadline. Later may do.
	ErrUnavailable = errors.New("object store does not answer")
)

// Options says where the objects are and who asks for them.
type Options struct {
	Region    string // "" takes the SDK's (environment, profile), else us-east-1
	Endpoint  string // URL of an S3-compatible server; "" is AWS
	PathStyle bool   // bucket in the path instead of the host name
	Anonymous bool   // public buckets: requests are not signed
	// AllowHTTP lets credentials and data go over plain http to a host that is not loopback.
	AllowHTTP bool
	// Checksum is "auto" (or ""), "when_supported" or "when_required"; auto is when_required for an Endpoint of one's own.
	Checksum string
	// AccessKey, SecretKey and SessionToken are called at the start and again when credentials have expired. A nil
	// AccessKey takes the SDK's default chain.
	AccessKey, SecretKey, SessionToken func() (string, error)
	// Deadline is the longest that one operation is tried again, 0 is two minutes; a read that makes progress starts it anew.
	Deadline time.Duration
	// MaxBackoff is the longest wait between two tries, 0 is five seconds.
	MaxBackoff time.Duration
	// Stall is how long one try may go without a byte moving before it is given up, 0 is thirty seconds.
	Stall time.Duration
	// IgnoreETag reads from a server whose ETags look like MD5 sums and are none. Checksums are verified all the same.
	IgnoreETag bool
	// Warn is told, once each, of what a person should know while the client goes on; nil is nobody.
	Warn func(text string)
}

// Object is one object as it was listed.
type Object struct {
	Key      string
	Size     int64
	ETag     string // with its quotes
	Version  string // "" in a bucket without versions
	Modified time.Time
}

// PutOptions are the conditions of a Put and what is stored beside the bytes.
type PutOptions struct {
	IfNoneMatch bool   // only if there is no such object yet
	IfMatch     string // only if the object has this ETag; "" asks for nothing
	ContentType string // "" leaves it to the server
}

// Stats counts since Open.
type Stats struct {
	Requests  uint64 // HTTP requests, retries included
	Retries   uint64 // tries after the first of an operation or of a stretch of a read
	Bytes     uint64 // bytes of objects received
	Throttled uint64 // answers that asked for fewer requests
}

// URL names an object or a prefix for messages: s3://bucket/key.
func URL(bucket, key string) string { return "s3://" + bucket + "/" + key }
