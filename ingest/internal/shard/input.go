package shard

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
)

const (
	gzipBuffer = 64 << 10
	// streamBuffer is for bodies that cannot seek: they come over a network, and a tar is read in pieces of 512 bytes.
	streamBuffer = 256 << 10
	// reopenAfter is the number of unwanted bytes from which another request costs less than reading them.
	reopenAfter = 4 << 20
)

var errNoEnd = errors.New("unexpected EOF: the end marker of the tar is missing")

// input is the bytes of a tar shard, and the tar in them.
type input struct {
	object   Object
	ctx      context.Context // of the reading as a whole
	body     io.ReadCloser   // nil: to be opened at position
	buffered *bufio.Reader   // over a body that cannot seek
	tar      io.Reader       // plain: also an io.Seeker, so that archive/tar seeks over what nobody reads
	stop     <-chan struct{} // reading fails once it is closed; nil: never
	position int64           // in the object; compressed bytes of a compressed one
	zeros    int64           // bytes of value zero that tar returned last in a row
	broken   error           // the object's own error, which is none of the tar's
}

// newInput looks at the object's first bytes. The object stays the caller's.
func newInput(ctx context.Context, o Object) (*input, error) {
	in := &input{object: o, ctx: ctx}
	if err := in.open(); err != nil {
		return nil, err
	}
	magic := make([]byte, 2)
	n, err := io.ReadFull(rawBytes{in}, magic)
	if err != nil && in.broken != nil {
		in.close()
		return nil, in.broken
	}
	if n < len(magic) || magic[0] != 0x1f || magic[1] != 0x8b {
		in.tar = plainTar{in}
		return in, in.rewind()
	}
	if err := in.rewind(); err != nil {
		return nil, err
	}
	unzip, err := gzip.NewReader(bufio.NewReaderSize(rawBytes{in}, gzipBuffer))
	if err != nil {
		in.close()
		return nil, in.explain(0, err)
	}
	in.tar = zippedTar{in, unzip}
	return in, nil
}

// open starts a body at the position.
func (in *input) open() error {
	body, err := in.object.From(in.ctx, in.position)
	if err != nil {
		in.broken = err
		return err
	}
	in.body, in.buffered = body, nil
	if _, seeks := body.(io.Seeker); !seeks {
		in.buffered = bufio.NewReaderSize(body, streamBuffer)
	}
	return nil
}

func (in *input) close() {
	if in.body != nil {
		in.body.Close() // only read
		in.body = nil
	}
}

// rewind goes back to the first byte after a look at it.
func (in *input) rewind() error {
	in.position, in.zeros = 0, 0
	if seeker, ok := in.body.(io.Seeker); ok {
		_, err := seeker.Seek(0, io.SeekStart)
		return err
	}
	in.close()
	return in.open()
}

// finish checks, after the last member, that the tar was closed by its writer, and of a compressed one the checksum.
// A tar cut between two members looks whole otherwise.
func (in *input) finish() error {
	if in.zeros < 512 {
		return errNoEnd
	}
	if _, plain := in.tar.(plainTar); plain {
		return nil
	}
	_, err := io.Copy(io.Discard, in.tar)
	return err
}

func (in *input) read(p []byte) (int, error) {
	select {
	case <-in.stop:
		return 0, context.Canceled // replaced by the context's own error before a caller sees it
	default:
	}
	if in.body == nil {
		if err := in.open(); err != nil {
			return 0, err
		}
	}
	var from io.Reader = in.body
	if in.buffered != nil {
		from = in.buffered
	}
	n, err := from.Read(p)
	in.position += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		in.broken = err
	}
	return n, err
}

// note keeps count of the zeros at the end of what was read.
func (in *input) note(p []byte) {
	last := len(p) - 1
	for last >= 0 && p[last] == 0 {
		last--
	}
	if last >= 0 {
		in.zeros = 0
	}
	in.zeros += int64(len(p) - 1 - last)
}

// skip goes on by n bytes: it seeks, reads them, or opens the object anew behind them.
func (in *input) skip(n int64) error {
	if seeker, ok := in.body.(io.Seeker); ok {
		if _, err := seeker.Seek(n, io.SeekCurrent); err != nil {
			in.broken = err
			return err
		}
		in.position += n
		return nil
	}
	if n < reopenAfter {
		_, err := io.CopyN(io.Discard, rawBytes{in}, n)
		return err
	}
	in.close()
	in.position += n
	return nil
}

// explain says where in a shard an error came up. One of the object's own is passed on as it is.
func (in *input) explain(sample int64, err error) error {
	if in.broken != nil {
		return in.broken
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: sample %d, before byte %d: %w; the shard is cut short, damaged or no tar: fetch or write it again",
		in.object.Name(), sample, in.position, err)
}

// rawBytes is the object's bytes.
type rawBytes struct{ in *input }

func (r rawBytes) Read(p []byte) (int, error) { return r.in.read(p) }

// plainTar is the tar of an uncompressed shard.
type plainTar struct{ in *input }

func (t plainTar) Read(p []byte) (int, error) {
	n, err := t.in.read(p)
	t.in.note(p[:n])
	return n, err
}

// Seek implements io.Seeker as far as archive/tar uses it: forward, from where it is.
func (t plainTar) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return t.in.position, errors.ErrUnsupported
	}
	if offset == 0 {
		return t.in.position, nil
	}
	if size := t.in.object.Size(); offset > size-t.in.position {
		return t.in.position, io.ErrUnexpectedEOF
	}
	t.in.zeros = 0
	err := t.in.skip(offset)
	return t.in.position, err
}

// zippedTar is the tar of a compressed shard.
type zippedTar struct {
	in    *input
	unzip io.Reader
}

func (t zippedTar) Read(p []byte) (int, error) {
	n, err := t.unzip.Read(p)
	t.in.note(p[:n])
	return n, err
}
