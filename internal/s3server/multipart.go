package s3server

import (
	"bytes"
	"crypto/md5" // S3's ETag
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// upload is a multipart upload on its way.
type upload struct {
	bucket, key string
	header      http.Header
	parts       map[int]*object
}

func (s *Server) createUpload(r *http.Request, bucket, key string) *response {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[bucket] == nil {
		return noBucket()
	}
	id := rand.Text()
	s.uploads[id] = &upload{bucket: bucket, key: key, header: headerOf(r), parts: make(map[int]*object)}
	return asXML(http.StatusOK, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadID string `xml:"UploadId"`
	}{Bucket: bucket, Key: key, UploadID: id})
}

func (s *Server) uploadPart(r *http.Request) *response {
	data, bad := payload(r)
	if bad != nil {
		return bad
	}
	number, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
	if err != nil || number < 1 || number > 10000 {
		return failed(http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000")
	}
	part := newObject(data, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uploads[r.URL.Query().Get("uploadId")]
	if u == nil {
		return noUpload()
	}
	u.parts[number] = part
	header := http.Header{"Etag": {part.etag}}
	if r.Header.Get("X-Amz-Sdk-Checksum-Algorithm") == "CRC32" && !s.opts.NoChecksums {
		header.Set("X-Amz-Checksum-Crc32", part.crc32)
	}
	return &response{status: http.StatusOK, header: header}
}

// completeUpload joins the parts that the request lists. An upload whose condition does not hold can be tried again.
func (s *Server) completeUpload(r *http.Request, bucket, key string) *response {
	data, bad := readXML(r)
	if bad != nil {
		return bad
	}
	var in struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(data, &in); err != nil {
		return failed(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed.")
	}
	id := r.URL.Query().Get("uploadId")
	s.mu.RLock()
	u := s.uploads[id]
	s.mu.RUnlock()
	if u == nil || u.bucket != bucket || u.key != key {
		return noUpload()
	}
	var whole, sums bytes.Buffer
	for i, listed := range in.Part {
		s.mu.RLock()
		part := u.parts[listed.PartNumber]
		s.mu.RUnlock()
		if part == nil || !matches(listed.ETag, part) || (i > 0 && in.Part[i-1].PartNumber >= listed.PartNumber) {
			return failed(http.StatusBadRequest, "InvalidPart", "One or more of the specified parts could not be found.")
		}
		whole.Write(part.data)
		sum, _ := hex.DecodeString(strings.Trim(part.etag, `"`))
		sums.Write(sum)
	}
	o := newObject(whole.Bytes(), u.header)
	o.etag = fmt.Sprintf(`"%x-%d"`, md5.Sum(sums.Bytes()), len(in.Part))
	if answer := s.store(r, bucket, key, o); answer.status != http.StatusOK {
		return answer
	}
	s.mu.Lock()
	delete(s.uploads, id)
	s.mu.Unlock()
	return asXML(http.StatusOK, struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket  string
		Key     string
		ETag    string
	}{Bucket: bucket, Key: key, ETag: o.etag})
}

func (s *Server) abortUpload(r *http.Request) *response {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.URL.Query().Get("uploadId")
	if s.uploads[id] == nil {
		return noUpload()
	}
	delete(s.uploads, id)
	return &response{status: http.StatusNoContent}
}

// Uploads returns how many multipart uploads were begun and neither completed nor aborted.
func (s *Server) Uploads() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.uploads)
}

func noUpload() *response {
	return failed(http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist.")
}
