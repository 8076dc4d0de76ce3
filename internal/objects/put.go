package objects

import (
	"context"
	"crypto/md5" // Content-MD5 guards the way there against accidents
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

// markName is user metadata with a random value for each conditional or multipart Put: by it a Put whose answer was
// lost knows its own object again.
const markName = "mocostream-put"

// Put stores what body holds from its start to its end as one object, which readers see whole or not at all. What
// arrives is compared with a checksum (CRC32, or MD5 for servers without). The returned Object has no Modified time.
//
// A Put whose condition does not hold returns ErrExists. Tried again after an answer was lost, a Put may meet the object that
// it stored itself: it knows that one by a mark in the metadata (equal content is not enough, another writer's
// may be equal) and succeeds. A server that drops metadata makes that ErrExists.
func (c *Client) Put(ctx context.Context, bucket, key string, body io.ReadSeeker, opts PutOptions) (Object, error) {
	size, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return Object{}, fmt.Errorf("write %s: measure body: %w", URL(bucket, key), err)
	}
	p := &put{c: c, what: call{verb: "write", bucket: bucket, key: key}, size: size, opts: opts, body: readerAtOf(body)}
	if opts.IfNoneMatch || opts.IfMatch != "" || size > c.multipartAbove {
		p.mark = rand.Text()
	}
	if size > c.multipartAbove {
		return p.inParts(ctx)
	}
	return p.inOne(ctx)
}

// put is one Put on its way.
type put struct {
	c    *Client
	what call
	size int64
	opts PutOptions
	body io.ReaderAt
	mark string // "" where none is needed
}

func (p *put) inOne(ctx context.Context) (Object, error) {
	sum, err := p.md5(0, p.size)
	if err != nil {
		return Object{}, err
	}
	var out *s3.PutObjectOutput
	what, tries := p.what, 0
	what.size = p.size
	err = p.c.do(ctx, what, func(ctx context.Context) (err error) {
		tries++
		out, err = p.c.s3.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &what.bucket, Key: &what.key, Body: io.NewSectionReader(p.body, 0, p.size),
			ContentLength: aws.Int64(p.size), ContentMD5: sum, ContentType: optional(p.opts.ContentType),
			Metadata: p.metadata(), IfNoneMatch: p.ifNoneMatch(), IfMatch: optional(p.opts.IfMatch),
		})
		return err
	})
	if err != nil {
		return p.lost(ctx, err, tries)
	}
	return Object{Key: p.what.key, Size: p.size, ETag: aws.ToString(out.ETag), Version: version(out.VersionId)}, nil
}

// lost decides what a refusal by a condition, or an upload that is gone, means: after a first try it is what it says, later
// it may be the answer to our own first success.
func (p *put) lost(ctx context.Context, err error, tries int) (Object, error) {
	conditional := p.opts.IfNoneMatch || p.opts.IfMatch != ""
	refused := conditional && (errors.Is(err, ErrChanged) || absent(err) && p.opts.IfMatch != "")
	if tries > 1 && p.mark != "" && (refused || absent(err)) {
		o, there, ours := p.stored(ctx)
		if ours {
			return o, nil
		}
		refused = refused || (p.opts.IfNoneMatch && there)
	}
	if refused {
		return Object{}, &failure{kind: ErrExists, text: p.what.String()}
	}
	return Object{}, err
}

// stored returns what is there now, and whether it bears the mark of this Put.
func (p *put) stored(ctx context.Context) (o Object, there, ours bool) {
	out, err := p.c.head(ctx, p.what, Object{Key: p.what.key})
	if err != nil {
		return Object{}, false, false
	}
	o = Object{Key: p.what.key, Size: p.size, ETag: aws.ToString(out.ETag), Version: version(out.VersionId)}
	return o, true, out.Metadata[markName] == p.mark && aws.ToInt64(out.ContentLength) == p.size
}

func (p *put) metadata() map[string]string {
	if p.mark == "" {
		return nil
	}
	return map[string]string{markName: p.mark}
}

func (p *put) ifNoneMatch() *string {
	if p.opts.IfNoneMatch {
		return aws.String("*")
	}
	return nil
}

// md5 returns Content-MD5 of a stretch of the body where the SDK is not asked for checksums of its own.
func (p *put) md5(from, size int64) (*string, error) {
	if p.c.sums {
		return nil, nil
	}
	h := md5.New()
	if _, err := io.Copy(h, io.NewSectionReader(p.body, from, size)); err != nil {
		return nil, fmt.Errorf("%s: read body: %w", p.what, err)
	}
	return aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil))), nil
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Delete removes objects; one that is not there is no error. It stops at the first failure. Keys go one by one (eight at a
// time): the request for many needs checksums that not every server knows.
func (c *Client) Delete(ctx context.Context, bucket string, keys ...string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, key := range keys {
		group.Go(func() error {
			err := c.do(ctx, call{verb: "delete", bucket: bucket, key: key}, func(ctx context.Context) error {
				_, err := c.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
				return err
			})
			if absent(err) {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}

// cleanupTime bounds what is tidied up after a failure, also when the caller's context has ended.
const cleanupTime = 10 * time.Second
