package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Get opens object o, as it was listed, at byte from. The reader returns the rest of the object, takes a body that was
// cut short, reset or stalled up again where it ended, and ends with io.EOF after exactly o.Size-from bytes. ErrChanged
// means that the object is another one by now, fs.ErrNotExist that it is gone. Read from byte 0, an object is compared with
// the checksum that the server keeps of the whole (or with an ETag that is an MD5 sum): a Read that would
// hand out the last bytes of other content returns ErrCorrupt instead, and opening again may help. ctx ends the
// reading too. The caller closes the reader, which is for one goroutine.
func (c *Client) Get(ctx context.Context, bucket string, o Object, from int64) (io.ReadCloser, error) {
	if from < 0 || from > o.Size {
		return nil, fmt.Errorf("read %s: byte %d is outside of its %d bytes", URL(bucket, o.Key), from, o.Size)
	}
	r := c.reader(ctx, bucket, o, from, o.Size)
	if from == o.Size && from > 0 {
		return r, nil
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// ReadAll returns a whole object, reading it anew when it arrived corrupt. It allocates o.Size bytes once the server has
// confirmed that size; the caller bounds it.
func (c *Client) ReadAll(ctx context.Context, bucket string, o Object) ([]byte, error) {
	const most = 4
	for try := 1; ; try++ {
		data, err := c.readOnce(ctx, bucket, o)
		if err == nil || !errors.Is(err, ErrCorrupt) || try == most {
			return data, err
		}
		c.retries.Add(1)
	}
}

func (c *Client) readOnce(ctx context.Context, bucket string, o Object) ([]byte, error) {
	if o.Size > math.MaxInt {
		return nil, fmt.Errorf("read %s: %d bytes do not fit into memory", URL(bucket, o.Key), o.Size)
	}
	r, err := c.Get(ctx, bucket, o, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, o.Size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	return data, nil
}

// reader reads bytes pos to end of an object, over as many requests as it takes. It holds a context as the body of an
// HTTP answer does: io.Reader has no place for one.
type reader struct {
	c        *Client
	ctx      context.Context
	object   Object
	pos, end int64
	patience *patience
	body     *stream   // nil between requests
	check    *verifier // nil where nothing can be verified
	err      error     // what every further Read returns
}

func (c *Client) reader(ctx context.Context, bucket string, o Object, from, end int64) *reader {
	what := call{verb: "read", bucket: bucket, key: o.Key}
	return &reader{c: c, ctx: ctx, object: o, pos: from, end: end, patience: c.patience(what)}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.err == nil && r.pos == r.end {
		r.err = io.EOF
	}
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	p = p[:min(int64(len(p)), r.end-r.pos)]
	for {
		if r.body == nil {
			if r.err = r.open(); r.err != nil {
				return 0, r.err
			}
		}
		n, err := r.body.Read(p)
		if n > 0 {
			return r.took(p[:n])
		}
		if err == nil {
			continue
		}
		if r.err = r.interrupted(err); r.err != nil {
			return 0, r.err
		}
	}
}

// took counts bytes that arrived, and verifies the object with its last ones.
func (r *reader) took(p []byte) (int, error) {
	r.pos += int64(len(p))
	r.c.bytes.Add(uint64(len(p)))
	r.patience.progress()
	if r.check != nil {
		r.check.Write(p)
	}
	if r.pos < r.end {
		return len(p), nil
	}
	r.drop()
	if r.check == nil {
		return len(p), nil
	}
	if err := r.check.check(); err != nil {
		r.err = &failure{kind: ErrCorrupt, text: fmt.Sprintf("%s: %s", r.patience.what, err)}
		return 0, r.err
	}
	return len(p), nil
}

// interrupted waits before the read is taken up at pos; it returns an error when it will not be.
func (r *reader) interrupted(err error) error {
	r.drop()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return r.patience.again(r.ctx, err, r.c.creds.current())
}

// open asks for what is missing until there is an answer to read from.
func (r *reader) open() error {
	for {
		generation := r.c.creds.current()
		err := r.request()
		if err == nil {
			r.c.answered.Store(true)
			return nil
		}
		if err := r.patience.again(r.ctx, err, generation); err != nil {
			return err
		}
	}
}

// request makes one try. A read of the whole goes without a range, since only then servers tell the checksum.
func (r *reader) request() error {
	in := &s3.GetObjectInput{Bucket: aws.String(r.patience.what.bucket), Key: aws.String(r.object.Key)}
	in.IfMatch, in.VersionId = conditions(r.object)
	whole := r.pos == 0 && r.end == r.object.Size
	if !whole {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r.pos, r.end-1))
	}
	body := newStream(r.ctx, r.c.opts.Stall)
	out, err := r.c.s3.GetObject(body.ctx, in, askChecksums)
	if err != nil {
		return body.abandon(err)
	}
	body.ReadCloser = out.Body
	if err := r.accept(out, whole); err != nil {
		body.Close()
		return err
	}
	body.pause()
	r.body = body
	if whole {
		r.check = sumsOfGet(out).verifier(r.c.opts.IgnoreETag)
	}
	return nil
}

// accept compares an answer's headers with what was asked for: not every server knows If-Match, and not every proxy Range.
func (r *reader) accept(out *s3.GetObjectOutput, whole bool) error {
	what, o := r.patience.what, r.object
	if got := aws.ToString(out.ETag); o.ETag != "" && got != "" && trimETag(got) != trimETag(o.ETag) {
		return &failure{kind: ErrChanged, text: fmt.Sprintf("%s: ETag is %s, was %s", what, got, o.ETag)}
	}
	total, first := aws.ToInt64(out.ContentLength), int64(0)
	if out.ContentLength == nil {
		return &failure{text: fmt.Sprintf("%s: the answer has no length; a proxy on the way may have changed it", what)}
	}
	if !whole {
		var ok bool
		if first, total, ok = contentRange(aws.ToString(out.ContentRange)); !ok {
			return &failure{text: fmt.Sprintf("%s: the server ignores ranges, which taking up a read needs", what)}
		}
	}
	if total != o.Size {
		if o.ETag == "" {
			return &failure{kind: ErrChanged, text: fmt.Sprintf("%s: has %d bytes, had %d", what, total, o.Size)}
		}
		return &broken{fmt.Sprintf("the answer is for %d bytes of an object of %d", total, o.Size)}
	}
	if !whole && first != r.pos {
		return &broken{fmt.Sprintf("the answer starts at byte %d instead of %d", first, r.pos)}
	}
	return nil
}

// contentRange reads "bytes 5-9/20" as 5, 20.
func contentRange(text string) (first, total int64, ok bool) {
	text, found := strings.CutPrefix(text, "bytes ")
	span, size, slash := strings.Cut(text, "/")
	start, _, dash := strings.Cut(span, "-")
	first, err := strconv.ParseInt(start, 10, 64)
	if err != nil || !found || !slash || !dash || first < 0 {
		return 0, 0, false
	}
	total, err = strconv.ParseInt(size, 10, 64)
	return first, total, err == nil && total >= 0
}

func (r *reader) drop() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.drop()
	if r.err == nil {
		r.err = fmt.Errorf("%s: reader is closed", r.patience.what)
	}
	return nil
}

// stream is the body of one answer, given up when nothing arrives for a time. The time that its caller takes between two
// reads does not count.
type stream struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func newStream(ctx context.Context, stall time.Duration) *stream {
	s := &stream{stall: stall}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.timer = time.AfterFunc(stall, func() { s.cancel(errStalled) })
	return s
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	s.timer.Reset(s.stall)
	n, err := s.ReadCloser.Read(p)
	s.pause()
	if err != nil && err != io.EOF {
		err = s.why(err)
	}
	return n, err
}

func (s *stream) pause() { s.timer.Stop() }

func (s *stream) why(err error) error {
	if context.Cause(s.ctx) == errStalled {
		return errStalled
	}
	return err
}

// abandon ends a request that got no answer and says why.
func (s *stream) abandon(err error) error {
	err = s.why(err)
	s.pause()
	s.cancel(nil)
	return err
}

// Close implements io.Closer.
func (s *stream) Close() error {
	s.pause()
	err := s.ReadCloser.Close()
	s.cancel(nil)
	return err
}
