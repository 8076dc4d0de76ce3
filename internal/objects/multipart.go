package objects

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	multipartAbove = 64 << 20 // bytes; an object that is larger goes in parts
	leastPart      = 16 << 20 // bytes
	mostParts      = 10000    // S3's limit
	uploads        = 4        // parts at a time
)

// inParts sends the body in parts, each tried again by itself. The condition is checked when the parts become an object.
func (p *put) inParts(ctx context.Context) (Object, error) {
	id, err := p.create(ctx)
	if err != nil {
		return Object{}, err
	}
	parts, err := p.sendParts(ctx, id)
	if err == nil {
		var o Object
		if o, err = p.complete(ctx, id, parts); err == nil {
			return o, nil
		}
	}
	p.abort(ctx, id)
	return Object{}, err
}

func (p *put) create(ctx context.Context) (string, error) {
	in := &s3.CreateMultipartUploadInput{
		Bucket: &p.what.bucket, Key: &p.what.key, ContentType: optional(p.opts.ContentType), Metadata: p.metadata(),
	}
	if p.c.sums { // a sum over the whole, so that readers can verify it
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject
	}
	var id string
	err := p.c.do(ctx, p.what, func(ctx context.Context) error {
		out, err := p.c.s3.CreateMultipartUpload(ctx, in)
		if err == nil {
			id = aws.ToString(out.UploadId)
		}
		return err
	})
	return id, err
}

func (p *put) sendParts(ctx context.Context, id string) ([]types.CompletedPart, error) {
	partSize := max(p.c.leastPart, (p.size+mostParts-1)/mostParts)
	parts := make([]types.CompletedPart, (p.size+partSize-1)/partSize)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	for i := range parts {
		group.Go(func() (err error) {
			from := int64(i) * partSize
			parts[i], err = p.sendPart(ctx, id, int32(i+1), from, min(partSize, p.size-from))
			return err
		})
	}
	return parts, group.Wait()
}

func (p *put) sendPart(ctx context.Context, id string, number int32, from, size int64) (types.CompletedPart, error) {
	sum, err := p.md5(from, size)
	if err != nil {
		return types.CompletedPart{}, err
	}
	what := p.what
	what.size = size
	var out *s3.UploadPartOutput
	err = p.c.do(ctx, what, func(ctx context.Context) (err error) {
		out, err = p.c.s3.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &what.bucket, Key: &what.key, UploadId: &id, PartNumber: &number,
			Body: io.NewSectionReader(p.body, from, size), ContentLength: aws.Int64(size), ContentMD5: sum,
		})
		return err
	})
	if err != nil {
		return types.CompletedPart{}, fmt.Errorf("send part %d: %w", number, err)
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}, nil
}

func (p *put) complete(ctx context.Context, id string, parts []types.CompletedPart) (Object, error) {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &p.what.bucket, Key: &p.what.key, UploadId: &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		IfNoneMatch:     p.ifNoneMatch(), IfMatch: optional(p.opts.IfMatch),
	}
	if p.c.sums {
		in.ChecksumType = types.ChecksumTypeFullObject
	}
	var out *s3.CompleteMultipartUploadOutput
	tries := 0
	err := p.c.do(ctx, p.what, func(ctx context.Context) (err error) {
		tries++
		out, err = p.c.s3.CompleteMultipartUpload(ctx, in)
		return err
	})
	if err != nil {
		return p.lost(ctx, err, tries)
	}
	return Object{Key: p.what.key, Size: p.size, ETag: aws.ToString(out.ETag), Version: version(out.VersionId)}, nil
}

// abort has the server forget the parts, so that nobody pays for them. A bucket's lifecycle rule does so when it fails.
func (p *put) abort(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_, err := p.c.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &p.what.bucket, Key: &p.what.key, UploadId: &id,
	})
	if err != nil {
		p.c.warnOnce("abort", "%s: parts of an upload that failed remain; have the bucket's lifecycle remove incomplete uploads", p.what)
	}
}

// readerAtOf lets parts of a body be read at the same time.
func readerAtOf(body io.ReadSeeker) io.ReaderAt {
	if at, ok := body.(io.ReaderAt); ok {
		return at
	}
	return &seeking{body: body}
}

// seeking makes an io.ReaderAt of what can only be read from one place at a time.
type seeking struct {
	mu   sync.Mutex
	body io.ReadSeeker
}

// ReadAt implements io.ReaderAt.
func (s *seeking) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.body.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(s.body, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}
