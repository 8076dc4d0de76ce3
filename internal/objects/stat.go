package objects

import (
	"context"
	"errors"
	"io/fs"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Stat returns the newest version of an object; fs.ErrNotExist where there is none.
func (c *Client) Stat(ctx context.Context, bucket, key string) (Object, error) {
	out, err := c.head(ctx, call{verb: "stat", bucket: bucket, key: key}, Object{Key: key})
	if err != nil {
		return Object{}, err
	}
	return Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag),
		Version: version(out.VersionId), Modified: aws.ToTime(out.LastModified),
	}, nil
}

// head asks for the headers of an object, the checksum among them. Errors of HEAD have no body and so no code: where
// credentials may be the reason a GET of the first byte tells.
func (c *Client) head(ctx context.Context, what call, o Object) (*s3.HeadObjectOutput, error) {
	in := &s3.HeadObjectInput{Bucket: aws.String(what.bucket), Key: aws.String(o.Key)}
	in.IfMatch, in.VersionId = conditions(o)
	var out *s3.HeadObjectOutput
	err := c.do(ctx, what, func(ctx context.Context) (err error) {
		out, err = c.s3.HeadObject(ctx, in, askChecksums)
		if status, _ := httpStatus(err); status == http.StatusBadRequest || status == http.StatusForbidden {
			return c.explain(ctx, what.bucket, o.Key, err)
		}
		return err
	})
	return out, err
}

// explain returns the error of a GET instead of the silent one. Where there is none (credentials were renewed in between)
// the refusal holds no longer.
func (c *Client) explain(ctx context.Context, bucket, key string, silent error) error {
	out, err := c.s3.GetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(key), Range: aws.String("bytes=0-0"),
	})
	if err == nil {
		out.Body.Close()
	}
	if status, _ := httpStatus(err); err != nil && status != http.StatusRequestedRangeNotSatisfiable { // of an empty object
		return err
	}
	return &broken{"a HEAD was refused that a GET was not: " + root(silent).Error()}
}

// askChecksums has the server tell the checksum that it keeps, without the SDK's own verification: verifier does that.
func askChecksums(o *s3.Options) {
	o.APIOptions = append(o.APIOptions[:len(o.APIOptions):len(o.APIOptions)],
		smithyhttp.AddHeaderValue("X-Amz-Checksum-Mode", "ENABLED"))
}

// conditions are If-Match and the version that have a server answer with o or not at all.
func conditions(o Object) (ifMatch, versionID *string) {
	if o.ETag != "" {
		ifMatch = aws.String(o.ETag)
	}
	if o.Version != "" {
		versionID = aws.String(o.Version)
	}
	return ifMatch, versionID
}

// version is the version to ask for later: none where the bucket keeps none, which some servers call "null".
func version(id *string) string {
	if v := aws.ToString(id); v != "null" {
		return v
	}
	return ""
}

// absent says that an operation failed because there is no such object.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
