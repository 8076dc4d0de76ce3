package s3server

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type listResult struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Namespace             string   `xml:"xmlns,attr"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	MaxKeys, KeyCount     int
	IsTruncated           bool
	StartAfter            string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listEntry
	CommonPrefixes        []listPrefix
}

type listEntry struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
	StorageClass string
}

type listPrefix struct{ Prefix string }

// list answers ListObjectsV2. A continuation token is the last key or prefix of the page before.
func (s *Server) list(r *http.Request, name string) *response {
	query := r.URL.Query()
	limit, err := strconv.Atoi(query.Get("max-keys"))
	if err != nil || limit > 1000 || limit < 0 {
		limit = 1000
	}
	s.mu.Lock() // keys may sort
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		return noBucket()
	}
	out := &listResult{
		Namespace: namespace, Name: name, MaxKeys: limit, Prefix: query.Get("prefix"),
		Delimiter: query.Get("delimiter"), StartAfter: query.Get("start-after"),
	}
	after := out.StartAfter
	if token := query.Get("continuation-token"); token != "" {
		if after, err = url.QueryUnescape(token); err != nil {
			return failed(http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect")
		}
	}
	out.fill(b, after)
	if query.Get("encoding-type") == "url" {
		out.encode()
	}
	return asXML(http.StatusOK, out)
}

// fill adds the keys after a key or common prefix.
func (l *listResult) fill(b *bucket, after string) {
	keys := b.keys()
	at, found := slices.BinarySearch(keys, max(after, l.Prefix))
	if found && after >= l.Prefix && after != "" {
		at++
	}
	last, skip := "", ""
	if l.Delimiter != "" && strings.HasSuffix(after, l.Delimiter) {
		skip = after
	}
	for _, key := range keys[at:] {
		if !strings.HasPrefix(key, l.Prefix) {
			return
		}
		if skip != "" && strings.HasPrefix(key, skip) {
			continue
		}
		if l.KeyCount == l.MaxKeys {
			l.IsTruncated, l.NextContinuationToken = l.MaxKeys > 0, url.QueryEscape(last)
			return
		}
		last = l.add(key, b.objects[key])
		if last != key {
			skip = last
		}
	}
}

// add appends a key, or the common prefix that stands for it, and returns which.
func (l *listResult) add(key string, o *object) string {
	l.KeyCount++
	if l.Delimiter != "" {
		if i := strings.Index(key[len(l.Prefix):], l.Delimiter); i >= 0 {
			prefix := key[:len(l.Prefix)+i+len(l.Delimiter)]
			l.CommonPrefixes = append(l.CommonPrefixes, listPrefix{prefix})
			return prefix
		}
	}
	l.Contents = append(l.Contents, listEntry{
		Key: key, LastModified: o.modified.Format(time.RFC3339), ETag: o.etag, Size: len(o.data), StorageClass: "STANDARD",
	})
	return key
}

// encode makes keys fit for XML, which cannot hold all bytes.
func (l *listResult) encode() {
	l.EncodingType = "url"
	l.Prefix, l.StartAfter, l.Delimiter = url.QueryEscape(l.Prefix), url.QueryEscape(l.StartAfter), url.QueryEscape(l.Delimiter)
	for i := range l.Contents {
		l.Contents[i].Key = url.QueryEscape(l.Contents[i].Key)
	}
	for i := range l.CommonPrefixes {
		l.CommonPrefixes[i].Prefix = url.QueryEscape(l.CommonPrefixes[i].Prefix)
	}
}

// removeMany answers DeleteObjects.
func (s *Server) removeMany(r *http.Request, name string) *response {
	data, bad := readXML(r)
	if bad != nil {
		return bad
	}
	var in struct {
		Object []struct{ Key string }
		Quiet  bool
	}
	if err := xml.Unmarshal(data, &in); err != nil || len(in.Object) > 1000 {
		return failed(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed.")
	}
	if !s.hasBucket(name) {
		return noBucket()
	}
	out := struct {
		XMLName xml.Name `xml:"DeleteResult"`
		Deleted []struct{ Key string }
	}{}
	for _, o := range in.Object {
		s.Delete(name, o.Key)
		if !in.Quiet {
			out.Deleted = append(out.Deleted, struct{ Key string }{o.Key})
		}
	}
	return asXML(http.StatusOK, out)
}
