package s3server

import (
	"bytes"
	"crypto/md5" // S3's ETag
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"
	"time"
)

// bucket holds objects, and their keys in order for as long as none is added or removed.
type bucket struct {
	objects map[string]*object
	sorted  []string // nil when out of date
}

// object is never changed: a write puts another one in its place.
type object struct {
	data     []byte
	etag     string // with quotes
	crc32    string // base64
	modified time.Time
	header   http.Header // Content-Type and metadata
}

func newObject(data []byte, header http.Header) *object {
	sum := md5.Sum(data)
	return &object{
		data: data, etag: fmt.Sprintf(`"%x"`, sum), crc32: crc32Text(crc32.ChecksumIEEE(data)),
		modified: time.Now().UTC().Truncate(time.Second), header: header,
	}
}

func crc32Text(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// headerOf keeps what is stored with an object of a request.
func headerOf(r *http.Request) http.Header {
	kept := http.Header{}
	for name, values := range r.Header {
		if name == "Content-Type" || strings.HasPrefix(name, "X-Amz-Meta-") {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}

// makeBucket returns the bucket of a name. The caller holds the lock.
func (s *Server) makeBucket(name string) *bucket {
	b := s.buckets[name]
	if b == nil {
		b = &bucket{objects: make(map[string]*object)}
		s.buckets[name] = b
	}
	return b
}

func (b *bucket) set(key string, o *object) {
	if b.objects[key] == nil {
		b.sorted = nil
	}
	b.objects[key] = o
}

func (b *bucket) remove(key string) {
	if b.objects[key] != nil {
		b.sorted = nil
	}
	delete(b.objects, key)
}

// keys returns the keys in order. The caller holds the lock for writing and does not change the list.
func (b *bucket) keys() []string {
	if b.sorted == nil {
		b.sorted = make([]string, 0, len(b.objects))
		for key := range b.objects {
			b.sorted = append(b.sorted, key)
		}
		slices.Sort(b.sorted)
	}
	return b.sorted
}

// MakeBucket makes an empty bucket, if there is none of that name.
func (s *Server) MakeBucket(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeBucket(name)
}

// Put stores a copy of data, in a bucket that is made when there is none, and returns the ETag with its quotes.
func (s *Server) Put(bucket, key string, data []byte) string {
	o := newObject(bytes.Clone(data), nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeBucket(bucket).set(key, o)
	return o.etag
}

// Get returns a copy of what is stored.
func (s *Server) Get(bucket, key string) ([]byte, bool) {
	o := s.find(bucket, key)
	if o == nil {
		return nil, false
	}
	return bytes.Clone(o.data), true
}

// Keys returns the keys of a bucket in order.
func (s *Server) Keys(bucket string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucket]
	if b == nil {
		return nil
	}
	return slices.Clone(b.keys())
}

// Delete removes an object, if it is there.
func (s *Server) Delete(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucket]; b != nil {
		b.remove(key)
	}
}

func (s *Server) find(bucket, key string) *object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.buckets[bucket]
	if b == nil {
		return nil
	}
	return b.objects[key]
}

func (s *Server) hasBucket(name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.buckets[name] != nil
}
