package s3server

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzReadChunks(f *testing.F) {
	for _, seed := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;chunk-signature=0\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",
		"", "0\r\n", "ffffffffffffffff\r\n", "7fffffffffffffff\r\nx", "-1\r\n", "5\r\nhelloXX0\r\n", strings.Repeat("1", 9000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if data, _, err := readChunks(bytes.NewReader(body)); err == nil && len(data) > len(body) {
			t.Errorf("%d bytes came of %d", len(data), len(body))
		}
	})
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-", "bytes=1-2", "bytes=-3", "bytes=9-1", "bytes=-", "bytes=9223372036854775807-", ""} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, text string, size int64) {
		if from, to, ok := parseRange(text, size); ok && size >= 0 && (from < 0 || to <= from || to > size) {
			t.Errorf("%q of %d: [%d, %d)", text, size, from, to)
		}
	})
}
