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

// URL names an object or a prefix for messages: s3://bucket/key.
func URL(bucket, key string) string { return "s3://" + bucket + "/" + key }
