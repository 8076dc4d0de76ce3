package shards

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
)

var (
	errNoEnd   = errors.New("unexpected EOF: the end marker of the tar is missing")
	errStopped = context.Canceled // replaced by the context's own error before a caller sees it
)

// input is the file of a shard, and the tar in it.
type input struct {
	file     *os.File
	tar      io.Reader       // plain: also an io.Seeker, so that archive/tar seeks over what nobody reads
	stop     <-chan struct{} // reading fails once it is closed; nil: never
	position int64           // in the file; compressed bytes of a compressed one
	zeros    int64           // bytes of value zero that tar returned last in a row
}

// newInput takes over the file, unless it fails.
func newInput(file *os.File) (*input, error) {
	in := &input{file: file}
	magic := make([]byte, 2)
	n, err := file.ReadAt(magic, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(magic) || magic[0] != 0x1f || magic[1] != 0x8b {
		in.tar = plainTar{in}
		return in, nil
	}
	unzip, err := gzip.NewReader(bufio.NewReaderSize(rawFile{in}, 64<<10))
	if err != nil {
		return nil, damaged(file.Name(), 0, in.position, err)
	}
	in.tar = zippedTar{in, unzip}
	return in, nil
}

func (in *input) close() error { return in.file.Close() }

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
		return 0, errStopped
	default:
	}
	n, err := in.file.Read(p)
	in.position += int64(n)
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

// rawFile is the file's bytes.
type rawFile struct{ in *input }

func (f rawFile) Read(p []byte) (int, error) { return f.in.read(p) }

// plainTar is the tar of an uncompressed shard.
type plainTar struct{ in *input }

func (t plainTar) Read(p []byte) (int, error) {
	n, err := t.in.read(p)
	t.in.note(p[:n])
	return n, err
}

func (t plainTar) Seek(offset int64, whence int) (int64, error) {
	position, err := t.in.file.Seek(offset, whence)
	if err != nil {
		return position, err
	}
	if position != t.in.position {
		t.in.zeros = 0
	}
	t.in.position = position
	return position, nil
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
