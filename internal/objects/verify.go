package objects

import (
	"bytes"
	"crypto/md5" // S3's ETag; it guards against accidents, not against forgery
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// verifier compares the bytes of a whole object with the sum that the server keeps of it.
type verifier struct {
	hash.Hash
	name string
	want []byte
}

// sums are what an answer says about the content of the object.
type sums struct {
	crc32c, crc32, crc64, sha256, sha1 *string // base64
	kind                               types.ChecksumType
	etag                               *string
	encryption                         types.ServerSideEncryption
	customerKey                        *string
}

func sumsOfGet(o *s3.GetObjectOutput) sums {
	return sums{o.ChecksumCRC32C, o.ChecksumCRC32, o.ChecksumCRC64NVME, o.ChecksumSHA256, o.ChecksumSHA1,
		o.ChecksumType, o.ETag, o.ServerSideEncryption, o.SSECustomerAlgorithm}
}

func sumsOfHead(o *s3.HeadObjectOutput) sums {
	return sums{o.ChecksumCRC32C, o.ChecksumCRC32, o.ChecksumCRC64NVME, o.ChecksumSHA256, o.ChecksumSHA1,
		o.ChecksumType, o.ETag, o.ServerSideEncryption, o.SSECustomerAlgorithm}
}

// verifier returns the cheapest check that the server allows, nil where it says nothing of the whole: sums of the parts of a
// multipart upload ("...-3") cannot be compared with one read in another way.
func (s sums) verifier(ignoreETag bool) *verifier {
	if s.kind != types.ChecksumTypeComposite {
		for _, known := range []struct {
			name string
			text *string
			make func() hash.Hash
		}{
			{"CRC32C", s.crc32c, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
			{"CRC32", s.crc32, func() hash.Hash { return crc32.NewIEEE() }},
			{"CRC64NVME", s.crc64, newNVMe},
			{"SHA256", s.sha256, sha256.New},
			{"SHA1", s.sha1, sha1.New},
		} {
			want, err := base64.StdEncoding.DecodeString(aws.ToString(known.text))
			if h := known.make(); err == nil && len(want) == h.Size() {
				return &verifier{h, known.name, want}
			}
		}
	}
	return s.md5(ignoreETag)
}

// md5 takes the ETag for the MD5 sum that it is unless the object came in parts or is encrypted with a key of its own.
func (s sums) md5(ignore bool) *verifier {
	encrypted := s.customerKey != nil || (s.encryption != "" && s.encryption != types.ServerSideEncryptionAes256)
	want, err := hex.DecodeString(trimETag(aws.ToString(s.etag)))
	if ignore || encrypted || err != nil || len(want) != md5.Size {
		return nil
	}
	return &verifier{md5.New(), "MD5 (ETag)", want}
}

// check compares after the last byte.
func (v *verifier) check() error {
	got := v.Sum(nil)
	if bytes.Equal(got, v.want) {
		return nil
	}
	return fmt.Errorf("%s is %x, the server keeps %x", v.name, got, v.want)
}

// trimETag returns what identifies the content: proxies weaken ETags, and some servers leave out the quotes.
func trimETag(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }
