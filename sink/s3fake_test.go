package sink

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"mocostream/internal/objects"
)

// heapBucket is a bucket in memory with the rules of S3 that stores rely on: conditional writes and consistent listings.
type heapBucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	// fault, if set, is asked before each operation; after says whether the operation takes place in spite of its error.
	fault       func(verb, key string) (err error, after bool)
	noCondition bool // If-None-Match is ignored
}

func newBucket() *heapBucket { return &heapBucket{objects: map[string][]byte{}} }

func (m *heapBucket) enter(ctx context.Context, verb, key string) (err error, after bool) {
	if ctx.Err() != nil {
		return ctx.Err(), false
	}
	m.mu.Lock()
	fault := m.fault
	m.mu.Unlock()
	if fault != nil {
		return fault(verb, key)
	}
	return nil, false
}

func etag(b []byte) string { return fmt.Sprintf("%q", fmt.Sprintf("%x", md5.Sum(b))) }

func (m *heapBucket) List(ctx context.Context, _, prefix, after string) iter.Seq2[objects.Object, error] {
	return func(yield func(objects.Object, error) bool) {
		if err, _ := m.enter(ctx, "list", prefix); err != nil {
			yield(objects.Object{}, err)
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(m.objects)) {
			if strings.HasPrefix(key, prefix) && key > after {
				if !yield(objects.Object{Key: key, Size: int64(len(m.objects[key])), ETag: etag(m.objects[key])}, nil) {
					return
				}
			}
		}
	}
}

func (m *heapBucket) Stat(ctx context.Context, _, key string) (objects.Object, error) {
	if err, _ := m.enter(ctx, "stat", key); err != nil {
		return objects.Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.objects[key]
	if !ok {
		return objects.Object{}, fmt.Errorf("stat %s: %w", key, fs.ErrNotExist)
	}
	return objects.Object{Key: key, Size: int64(len(b)), ETag: etag(b)}, nil
}

func (m *heapBucket) Get(ctx context.Context, bucket string, o objects.Object, from int64) (io.ReadCloser, error) {
	b, err := m.ReadAll(ctx, bucket, o)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(b[from:])), nil
}

func (m *heapBucket) ReadAll(ctx context.Context, _ string, o objects.Object) ([]byte, error) {
	if err, _ := m.enter(ctx, "get", o.Key); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.objects[o.Key]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", o.Key, fs.ErrNotExist)
	}
	if etag(b) != o.ETag {
		return nil, fmt.Errorf("get %s: %w", o.Key, objects.ErrChanged)
	}
	return bytes.Clone(b), nil
}

func (m *heapBucket) Put(ctx context.Context, _, key string, body io.ReadSeeker, o objects.PutOptions) (objects.Object, error) {
	fault, after := m.enter(ctx, "put", key)
	if fault != nil && !after {
		return objects.Object{}, fault
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return objects.Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, there := m.objects[key]
	if !m.noCondition && (o.IfNoneMatch && there || o.IfMatch != "" && there && etag(old) != o.IfMatch) {
		return objects.Object{}, fmt.Errorf("put %s: %w", key, objects.ErrExists)
	}
	if o.IfMatch != "" && !there {
		return objects.Object{}, fmt.Errorf("put %s: %w", key, fs.ErrNotExist)
	}
	m.objects[key] = b
	return objects.Object{Key: key, Size: int64(len(b)), ETag: etag(b)}, fault
}

func (m *heapBucket) Delete(ctx context.Context, _ string, keys ...string) error {
	for _, key := range keys {
		if err, after := m.enter(ctx, "delete", key); err != nil && !after {
			return err
		}
		m.mu.Lock()
		delete(m.objects, key)
		m.mu.Unlock()
	}
	return nil
}

// breakWith sets fault while others use the bucket.
func (m *heapBucket) breakWith(fault func(verb, key string) (error, bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// keys returns the keys that begin with prefix.
func (m *heapBucket) keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m.objects)), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

// change puts what edit makes of an object in its place; nil deletes it.
func (m *heapBucket) change(key string, edit func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := edit(bytes.Clone(m.objects[key])); b != nil {
		m.objects[key] = b
	} else {
		delete(m.objects, key)
	}
}

var errOutage = errors.New("the server does not answer")
