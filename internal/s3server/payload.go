package s3server

import (
	"bufio"
	"bytes"
	"crypto/md5" // Content-MD5
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// payload reads a request's body, out of the chunks in which SDKs send it, and compares it with every sum that came with it.
// The second result is the answer to a body that is not whole.
func payload(r *http.Request) ([]byte, *response) {
	sums := r.Header
	var data []byte
	var err error
	if strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") ||
		strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		var trailer http.Header
		data, trailer, err = readChunks(r.Body)
		sums = r.Header.Clone()
		for name, values := range trailer {
			sums[name] = values
		}
		if want := r.Header.Get("X-Amz-Decoded-Content-Length"); err == nil && want != strconv.Itoa(len(data)) {
			err = fmt.Errorf("%d bytes came, %s were announced", len(data), want)
		}
	} else {
		data, err = io.ReadAll(r.Body)
	}
	if err != nil {
		return nil, failed(http.StatusBadRequest, "IncompleteBody", err.Error())
	}
	return data, compare(data, sums)
}

// compare answers with S3's error for a sum that does not fit.
func compare(data []byte, sums http.Header) *response {
	for _, known := range []struct {
		header string
		make   func() hash.Hash
	}{
		{"Content-Md5", md5.New},
		{"X-Amz-Checksum-Crc32", func() hash.Hash { return crc32.NewIEEE() }},
		{"X-Amz-Checksum-Crc32c", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
		{"X-Amz-Checksum-Crc64nvme", func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) }},
		{"X-Amz-Checksum-Sha1", sha1.New},
		{"X-Amz-Checksum-Sha256", sha256.New},
	} {
		want := sums.Get(known.header)
		if want == "" {
			continue
		}
		h := known.make()
		h.Write(data)
		if base64.StdEncoding.EncodeToString(h.Sum(nil)) != want {
			return failed(http.StatusBadRequest, "BadDigest", "The "+known.header+" you specified did not match what we received.")
		}
	}
	if want := sums.Get("X-Amz-Content-Sha256"); len(want) == 64 {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
			return failed(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 does not match.")
		}
	}
	return nil
}

// readChunks decodes aws-chunked: for each chunk its length in hex, extensions such as its signature, and the bytes; after
// the one of length zero, headers.
func readChunks(body io.Reader) ([]byte, http.Header, error) {
	in := bufio.NewReader(body)
	var data bytes.Buffer
	for {
		line, err := readLine(in)
		if err != nil {
			return nil, nil, err
		}
		digits, _, _ := strings.Cut(line, ";")
		size, err := strconv.ParseInt(digits, 16, 64)
		if err != nil || size < 0 {
			return nil, nil, fmt.Errorf("chunk length %.20q is no hex number", digits)
		}
		if size == 0 {
			trailer, err := readTrailer(in)
			return data.Bytes(), trailer, err
		}
		if n, err := io.CopyN(&data, in, size); err != nil {
			return nil, nil, fmt.Errorf("chunk of %d bytes ends after %d: %w", size, n, noEOF(err))
		}
		if line, err := readLine(in); err != nil || line != "" {
			return nil, nil, errors.Join(errors.New("chunk does not end with a line break"), err)
		}
	}
}

func readTrailer(in *bufio.Reader) (http.Header, error) {
	trailer := http.Header{}
	for {
		line, err := readLine(in)
		if errors.Is(err, io.ErrUnexpectedEOF) && line == "" || err == nil && line == "" {
			return trailer, nil // some clients leave out the last empty line
		}
		if err != nil {
			return nil, err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("trailer %.40q has no colon", line)
		}
		trailer.Add(name, strings.TrimSpace(value))
	}
}

// readLine returns a line without its break. Lines of a client are short: what is longer than the buffer is refused.
func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return string(line), fmt.Errorf("read chunk header: %w", noEOF(err))
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
