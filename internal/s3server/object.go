package s3server

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// get answers GET and HEAD of an object: whole, or one range of it.
func (s *Server) get(r *http.Request, bucket, key string) *response {
	o := s.find(bucket, key)
	if o == nil {
		if !s.hasBucket(bucket) {
			return noBucket()
		}
		return noKey()
	}
	if want := r.Header.Get("If-Match"); want != "" && !matches(want, o) {
		return failed(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	}
	a := &response{status: http.StatusOK, header: s.objectHeader(r, o), body: o.data}
	if wanted := r.Header.Get("Range"); wanted != "" {
		from, to, ok := parseRange(wanted, int64(len(o.data)))
		if !ok {
			return failed(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
		}
		a.status, a.body = http.StatusPartialContent, o.data[from:to]
		a.header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(o.data)))
		a.header.Del("X-Amz-Checksum-Crc32") // it is the whole's
		a.header.Del("X-Amz-Checksum-Type")
	}
	a.length = int64(len(a.body))
	return a
}

func (s *Server) objectHeader(r *http.Request, o *object) http.Header {
	header := maps.Clone(o.header)
	if header == nil {
		header = http.Header{}
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/octet-stream")
	}
	header.Set("Etag", o.etag)
	header.Set("Last-Modified", o.modified.Format(http.TimeFormat))
	header.Set("Accept-Ranges", "bytes")
	if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" && !s.opts.NoChecksums {
		header.Set("X-Amz-Checksum-Crc32", o.crc32)
		header.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
	return header
}

func matches(condition string, o *object) bool {
	return condition == "*" || strings.Trim(condition, `"`) == strings.Trim(o.etag, `"`)
}

// parseRange reads "bytes=5-", "bytes=5-9" and "bytes=-4" as a half-open range within size.
func parseRange(text string, size int64) (from, to int64, ok bool) {
	span, ok := strings.CutPrefix(text, "bytes=")
	first, last, dash := strings.Cut(span, "-")
	if !ok || !dash {
		return 0, 0, false
	}
	end, err := strconv.ParseInt(last, 10, 64)
	if last != "" && (err != nil || end < 0) {
		return 0, 0, false
	}
	if first == "" {
		return max(size-end, 0), size, last != "" && end > 0 && size > 0
	}
	from, err = strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 || from >= size || (last != "" && end < from) {
		return 0, 0, false
	}
	if last == "" || end >= size {
		return from, size, true
	}
	return from, end + 1, true
}

// put stores an object if what arrived is whole and the conditions hold.
func (s *Server) put(r *http.Request, bucket, key string) *response {
	data, bad := payload(r)
	if bad != nil {
		return bad
	}
	return s.store(r, bucket, key, newObject(data, headerOf(r)))
}

func (s *Server) store(r *http.Request, bucket, key string, o *object) *response {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucket]
	if b == nil {
		return noBucket()
	}
	old := b.objects[key]
	if want := r.Header.Get("If-Match"); want != "" && old == nil {
		return noKey()
	} else if (want != "" && !matches(want, old)) || (r.Header.Get("If-None-Match") == "*" && old != nil) {
		return failed(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	}
	b.set(key, o)
	header := http.Header{"Etag": {o.etag}}
	if !s.opts.NoChecksums {
		header.Set("X-Amz-Checksum-Crc32", o.crc32)
	}
	return &response{status: http.StatusOK, header: header}
}

func (s *Server) remove(bucket, key string) *response {
	if !s.hasBucket(bucket) {
		return noBucket()
	}
	s.Delete(bucket, key)
	return &response{status: http.StatusNoContent}
}

// limitXML bounds documents that clients send: S3's own is 1000 keys or 10,000 parts.
const limitXML = 8 << 20

func readXML(r *http.Request) ([]byte, *response) {
	data, bad := payload(r)
	if bad != nil {
		return nil, bad
	}
	if len(data) > limitXML {
		return nil, failed(http.StatusBadRequest, "MalformedXML", "The XML is too long.")
	}
	return data, nil
}
