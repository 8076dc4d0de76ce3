package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"mocostream/internal/objects"
)

// objectClient is the part of *objects.Client that stores need: reads that are verified, conditional writes.
type objectClient interface {
	List(ctx context.Context, bucket, prefix, startAfter string) iter.Seq2[objects.Object, error]
	Stat(ctx context.Context, bucket, key string) (objects.Object, error)
	Get(ctx context.Context, bucket string, o objects.Object, from int64) (io.ReadCloser, error)
	ReadAll(ctx context.Context, bucket string, o objects.Object) ([]byte, error)
	Put(ctx context.Context, bucket, key string, body io.ReadSeeker, o objects.PutOptions) (objects.Object, error)
	Delete(ctx context.Context, bucket string, keys ...string) error
}

var _ objectClient = (*objects.Client)(nil)

// place is a prefix of a bucket. Names below it have no leading slash.
type place struct {
	client         objectClient
	bucket, prefix string
}

func newPlace(client objectClient, bucket, prefix string) (place, error) {
	if client == nil || bucket == "" {
		return place{}, errors.New("a client and a bucket are needed; name the bucket as s3://bucket/prefix")
	}
	return place{client, bucket, strings.Trim(prefix, "/")}, nil
}

// key returns the object key of a name below the place.
func (p place) key(name string) string {
	if p.prefix == "" {
		return name
	}
	return p.prefix + "/" + name
}

// name is the inverse of key.
func (p place) name(key string) string {
	if p.prefix == "" {
		return key
	}
	return strings.TrimPrefix(key, p.prefix+"/")
}

// url names an object, or the place itself for "", in messages.
func (p place) url(name string) string {
	return strings.TrimSuffix(objects.URL(p.bucket, p.key(name)), "/")
}

// list yields the names that start with prefix and come after after, in order.
func (p place) list(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	if after != "" {
		after = p.key(after)
	}
	return func(yield func(string, error) bool) {
		for o, err := range p.client.List(ctx, p.bucket, p.key(prefix), after) {
			if !yield(p.name(o.Key), err) || err != nil {
				return
			}
		}
	}
}

// read returns a small object with its ETag. The error wraps fs.ErrNotExist if there is none, ErrTorn if it is too large
// to be what it should be.
func (p place) read(ctx context.Context, name string) ([]byte, string, error) {
	o, err := p.client.Stat(ctx, p.bucket, p.key(name))
	if err != nil {
		return nil, "", err
	}
	if o.Size > maxState {
		return nil, "", fmt.Errorf("%s: %w: larger than %d bytes", p.url(name), ErrTorn, maxState)
	}
	data, err := p.client.ReadAll(ctx, p.bucket, o)
	return data, o.ETag, err
}

// put writes a small JSON object and returns its ETag.
func (p place) put(ctx context.Context, name string, text []byte, o objects.PutOptions) (string, error) {
	o.ContentType = "application/json"
	written, err := p.client.Put(ctx, p.bucket, p.key(name), bytes.NewReader(text), o)
	return written.ETag, err
}

// remove deletes names; ones that are not there are no error.
func (p place) remove(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = p.key(name)
	}
	return p.client.Delete(ctx, p.bucket, keys...)
}

// parseURL takes s3://bucket/prefix apart. The prefix has no slash at its ends.
func parseURL(url string) (bucket, prefix string, err error) {
	rest, ok := strings.CutPrefix(url, "s3://")
	if !ok {
		return "", "", fmt.Errorf("%q is no S3 address; write s3://bucket/prefix", url)
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	if bucket == "" {
		return "", "", fmt.Errorf("%q names no bucket; write s3://bucket/prefix", url)
	}
	return bucket, strings.Trim(prefix, "/"), nil
}
