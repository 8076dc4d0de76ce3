package objects

import (
	"context"
	"fmt"
	"iter"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// List yields the objects whose keys begin with prefix and sort after startAfter, in the order of their keys' bytes. Pages
// are fetched as they are needed. The first error ends the sequence and comes with a zero Object.
func (c *Client) List(ctx context.Context, bucket, prefix, startAfter string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		what := call{verb: "list", bucket: bucket, key: prefix}
		last, token := startAfter, ""
		for {
			page, err := c.page(ctx, what, last, token)
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, entry := range page.Contents {
				o, err := listed(entry, page.EncodingType)
				if err == nil && o.Key <= last && last != "" {
					err = fmt.Errorf("%s: the server lists %q after %q; only buckets that list keys in order can be read", what, o.Key, last)
				}
				if err != nil {
					yield(Object{}, err)
					return
				}
				last = o.Key
				if !yield(o, nil) {
					return
				}
			}
			token = aws.ToString(page.NextContinuationToken)
			if !aws.ToBool(page.IsTruncated) || (token == "" && len(page.Contents) == 0) {
				return
			}
		}
	}
}

// page fetches the page at token, or the one after key last without a token.
func (c *Client) page(ctx context.Context, what call, last, token string) (*s3.ListObjectsV2Output, error) {
	in := &s3.ListObjectsV2Input{
		Bucket: aws.String(what.bucket), Prefix: aws.String(what.key),
		EncodingType: types.EncodingTypeUrl, // XML cannot hold every key
	}
	if token != "" {
		in.ContinuationToken = aws.String(token)
	} else if last != "" {
		in.StartAfter = aws.String(last)
	}
	var page *s3.ListObjectsV2Output
	err := c.do(ctx, what, func(ctx context.Context) (err error) {
		page, err = c.s3.ListObjectsV2(ctx, in)
		return err
	})
	return page, err
}

func listed(entry types.Object, encoding types.EncodingType) (Object, error) {
	key := aws.ToString(entry.Key)
	if encoding == types.EncodingTypeUrl {
		decoded, err := url.QueryUnescape(key)
		if err != nil {
			return Object{}, fmt.Errorf("decode listed key %q: %w", key, err)
		}
		key = decoded
	}
	return Object{
		Key: key, Size: aws.ToInt64(entry.Size), ETag: aws.ToString(entry.ETag),
		Modified: aws.ToTime(entry.LastModified),
	}, nil
}
