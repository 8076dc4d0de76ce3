package objects

import (
	"context"
	"fmt"
	"io"
)

// ReaderAt reads ranges of an object, each tried again and with If-Match as Get does. Servers keep no checksum of a range:
// formats read this way bring their own. It may be used concurrently, for as long as ctx lives.
func (c *Client) ReaderAt(ctx context.Context, bucket string, o Object) io.ReaderAt {
	return &readerAt{c: c, ctx: ctx, bucket: bucket, object: o}
}

type readerAt struct {
	c      *Client
	ctx    context.Context
	bucket string
	object Object
}

// ReadAt implements io.ReaderAt.
func (r *readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d", URL(r.bucket, r.object.Key), off)
	}
	if off >= r.object.Size {
		return 0, io.EOF
	}
	end := min(off+int64(len(p)), r.object.Size)
	body := r.c.reader(r.ctx, r.bucket, r.object, off, end)
	defer body.Close()
	n, err := io.ReadFull(body, p[:end-off])
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}
