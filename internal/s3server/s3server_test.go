package s3server_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"mocostream/internal/s3server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start returns a server with a bucket, and the SDK's client for it as it comes, but for retries.
func start(t *testing.T, opts s3server.Options) (*s3server.Server, *s3.Client, string) {
	t.Helper()
	s := s3server.New(opts)
	url, err := s.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() { web.CloseIdleConnections(); s.Close() })
	client := s3.New(s3.Options{
		BaseEndpoint: &url, UsePathStyle: true, Region: "us-east-1", Retryer: aws.NopRetryer{}, HTTPClient: web,
		Credentials:                credentials.NewStaticCredentialsProvider("ak", "sk", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("b")}); err != nil {
		t.Fatal(err)
	}
	return s, client, url
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func put(t *testing.T, c *s3.Client, in *s3.PutObjectInput) string {
	t.Helper()
	in.Bucket, in.Key = aws.String("b"), aws.String("k")
	_, err := c.PutObject(t.Context(), in)
	return code(err)
}

func TestObject(t *testing.T) {
	s, c, _ := start(t, s3server.Options{AccessKey: "ak"})
	if got := put(t, c, &s3.PutObjectInput{Body: strings.NewReader("hello"), ContentType: aws.String("text/plain"),
		Metadata: map[string]string{"mark": "7"}}); got != "<nil>" {
		t.Fatal(got)
	}
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(out.Body)
	if err != nil || string(data) != "hello" || *out.ETag != `"5d41402abc4b2a76b9719d911017c592"` || *out.ContentType != "text/plain" ||
		out.Metadata["mark"] != "7" || *out.ChecksumCRC32 != "NhCmhg==" || out.ChecksumType != types.ChecksumTypeFullObject {
		t.Errorf("got %q %v, %+v", data, err, out)
	}
	for condition, want := range map[string]string{*out.ETag: "<nil>", `"00"`: "PreconditionFailed"} {
		_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), IfMatch: &condition})
		if code(err) != want {
			t.Errorf("If-Match %s: %v", condition, err)
		}
	}
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	if err != nil || *head.ContentLength != 5 {
		t.Errorf("HEAD: %+v, %v", head, err)
	}
	if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("b"), Key: aws.String("k")}); err != nil {
		t.Error(err)
	}
	if keys := s.Keys("b"); len(keys) != 0 {
		t.Errorf("left %q", keys)
	}
	_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	_, absent := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("none"), Key: aws.String("k")})
	if code(err) != "NoSuchKey" || code(absent) != "NoSuchBucket" {
		t.Errorf("got %v, %v", err, absent)
	}
}

func TestRanges(t *testing.T) {
	s, c, _ := start(t, s3server.Options{})
	s.Put("b", "k", []byte("0123456789"))
	for text, want := range map[string]string{
		"bytes=0-": "0123456789", "bytes=3-5": "345", "bytes=8-99": "89", "bytes=-2": "89", "bytes=9-9": "9", "bytes=-99": "0123456789",
		"bytes=10-": "InvalidRange", "bytes=5-3": "InvalidRange", "bytes=x": "InvalidRange", "bytes=-0": "InvalidRange",
	} {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Range: &text})
		if err != nil {
			if code(err) != want {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if data, err := io.ReadAll(out.Body); err != nil || string(data) != want || out.ContentRange == nil || out.ChecksumCRC32 != nil {
			t.Errorf("%s: %q of %v, %v", text, data, aws.ToString(out.ContentRange), err)
		}
	}
}

func TestConditions(t *testing.T) {
	s, c, _ := start(t, s3server.Options{})
	body := func() io.Reader { return strings.NewReader("x") }
	for _, step := range []struct {
		in   *s3.PutObjectInput
		want string
	}{
		{&s3.PutObjectInput{IfMatch: aws.String(`"00"`)}, "NoSuchKey"},
		{&s3.PutObjectInput{IfNoneMatch: aws.String("*")}, "<nil>"},
		{&s3.PutObjectInput{IfNoneMatch: aws.String("*")}, "PreconditionFailed"},
		{&s3.PutObjectInput{IfMatch: aws.String(`"00"`)}, "PreconditionFailed"},
		{&s3.PutObjectInput{IfMatch: aws.String(s.Put("other", "x", []byte("x")))}, "<nil>"},
	} {
		step.in.Body = body()
		if got := put(t, c, step.in); got != step.want {
			t.Errorf("%v %v: %s, want %s", step.in.IfMatch, step.in.IfNoneMatch, got, step.want)
		}
	}
}

// Sums that do not fit are refused however they come: in a header of each kind, or behind a body of chunks.
func TestSumsAreCompared(t *testing.T) {
	s, c, url := start(t, s3server.Options{})
	sum := func(h uint32) string {
		return base64.StdEncoding.EncodeToString([]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)})
	}
	good := sum(crc32.ChecksumIEEE([]byte("hello")))
	for name, in := range map[string]*s3.PutObjectInput{
		"<nil>":     {ChecksumCRC32: &good},
		"BadDigest": {ChecksumCRC32: aws.String("AAAAAA==")},
	} {
		in.Body = strings.NewReader("hello")
		if got := put(t, c, in); got != name {
			t.Errorf("CRC32: %s, want %s", got, name)
		}
	}
	for _, algorithm := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"} {
		if got := put(t, c, &s3.PutObjectInput{Body: strings.NewReader("hello"), ChecksumAlgorithm: algorithm}); got != "<nil>" {
			t.Errorf("%s: %s", algorithm, got)
		}
	}
	if got := put(t, c, &s3.PutObjectInput{Body: strings.NewReader("hello"), ContentMD5: aws.String("AAAAAAAAAAAAAAAAAAAAAA==")}); got != "BadDigest" {
		t.Errorf("MD5: %s", got)
	}
	for body, status := range map[string]int{
		"3\r\nhel\r\n2;chunk-signature=00\r\nlo\r\n0\r\nx-amz-checksum-crc32:" + good + "\r\n\r\n": 200,
		"5\r\nhello\r\n0\r\n\r\n":                                      200,
		"5\r\nhellO\r\n0\r\nx-amz-checksum-crc32:" + good + "\r\n\r\n": 400,
		"5\r\nhel":               400,
		"4\r\nhell\r\n0\r\n\r\n": 400, // shorter than announced
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/b/chunked", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Encoding", "aws-chunked")
		r.Header.Set("X-Amz-Decoded-Content-Length", "5")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != status {
			t.Errorf("%q: %s", body, answer.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if got, _ := s.Get("b", "chunked"); string(got) != "hello" {
		t.Errorf("stored %q", got)
	}
}

func TestList(t *testing.T) {
	s, c, _ := start(t, s3server.Options{})
	for i := range 25 {
		s.Put("b", fmt.Sprintf("d/%02d", i), []byte("x"))
	}
	for _, key := range []string{"a", "d", "e/1", "e/2", "f/1"} {
		s.Put("b", key, nil)
	}
	pages, got := 0, ""
	p := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("b"), Prefix: aws.String("d/"),
		StartAfter: aws.String("d/02"), MaxKeys: aws.Int32(7)})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, o := range page.Contents {
			got += strings.TrimPrefix(*o.Key, "d/")
		}
	}
	if pages != 4 || got != "03040506070809101112131415161718192021222324" {
		t.Errorf("%d pages: %s", pages, got)
	}
	got = ""
	p = s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("b"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(2)})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			got += *o.Key + " "
		}
		for _, o := range page.CommonPrefixes {
			got += *o.Prefix + " "
		}
	}
	if got != "a d d/ e/ f/ " {
		t.Errorf("folders: %s", got)
	}
}

func TestMultipartAndDeleteObjects(t *testing.T) {
	s, c, _ := start(t, s3server.Options{})
	b, k := aws.String("b"), aws.String("k")
	made, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: b, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for i, text := range []string{"first", "second"} {
		number := aws.Int32(int32(i + 1))
		out, err := c.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: b, Key: k, UploadId: made.UploadId, PartNumber: number, Body: strings.NewReader(text)})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	}
	complete := func(parts []types.CompletedPart) string {
		_, err := c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: b, Key: k, UploadId: made.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
		return code(err)
	}
	if got := complete([]types.CompletedPart{parts[1], parts[0]}); got != "InvalidPart" {
		t.Errorf("out of order: %s", got)
	}
	if got := complete(parts); got != "<nil>" {
		t.Errorf("complete: %s", got)
	}
	if got := complete(parts); got != "NoSuchUpload" {
		t.Errorf("complete again: %s", got)
	}
	if got, _ := s.Get("b", "k"); string(got) != "firstsecond" || s.Uploads() != 0 {
		t.Errorf("stored %q, %d uploads", got, s.Uploads())
	}
	out, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: b, Delete: &types.Delete{
		Objects: []types.ObjectIdentifier{{Key: k}, {Key: aws.String("absent")}}}})
	if err != nil || len(out.Deleted) != 2 || len(s.Keys("b")) != 0 {
		t.Errorf("deleted %+v, %v", out, err)
	}
}

func TestCredentials(t *testing.T) {
	s, c, url := start(t, s3server.Options{AccessKey: "ak"})
	s.Put("b", "k", []byte("x"))
	get := func() string {
		_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
		return code(err)
	}
	if got := get(); got != "<nil>" {
		t.Error(got)
	}
	s.SetCredentials("ak", "token")
	if got := get(); got != "InvalidToken" {
		t.Error(got)
	}
	s.SetCredentials("other", "")
	if got := get(); got != "InvalidAccessKeyId" {
		t.Error(got)
	}
	answer, err := http.Get(url + "/b/k")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != 403 || !bytes.Contains(body, []byte("<Code>AccessDenied</Code>")) {
		t.Errorf("anonymous: %s %s", answer.Status, body)
	}
}
