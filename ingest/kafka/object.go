package kafka

import (
	"context"
	"errors"

	"mocostream/internal/objects"
)

// ErrNotAllowed says that a message points at an object that it must not have read.
var ErrNotAllowed = errors.New("object is not allowed; add its bucket or prefix to ingest.kafka.objects.allow")

// ObjectRef is an object that a message points at, as the message has it: nothing of it may be trusted.
type ObjectRef struct {
	Bucket, Key string
	Version     string // "" is the newest
	ETag        string // without quotes; "" is any
	Size        int64  // in bytes; -1 is unknown
}

// URL names the object: s3://bucket/key.
func (r ObjectRef) URL() string { return objects.URL(r.Bucket, r.Key) }

// Objects fetches what messages point at. It may be called concurrently.
type Objects interface {
	// Fetch returns the bytes of an object, of one that is too large for an image its beginning, and tries again what is
	// transient. An error that wraps ErrNotAllowed, fs.ErrNotExist or objects.ErrChanged makes the sample a bad image; any
	// other one ends the run.
	Fetch(ctx context.Context, ref ObjectRef) ([]byte, error)
}
