package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
)

const (
	// batchLimit is how far one batch is decompressed, in bytes.
	batchLimit = 1 << 30
	// smallestWindow is what every zstd writer may use, in bytes.
	smallestWindow = 8 << 20
)

// errBomb says that a batch decompresses to more than there may be.
var errBomb = errors.New("decompressed data is above the limit")

// windowFor returns how much of its output a decompressor may keep for records of up to maxBytes.
func windowFor(maxBytes int) int {
	return max(smallestWindow, 1<<bits.Len(uint(maxBytes)))
}

// decompress returns a reader of what a batch holds, which allocates about window bytes however much that is.
func decompress(codec compress.Compression, data []byte, window int) (io.ReadCloser, error) {
	switch codec {
	case compress.Zstd:
		d, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(uint64(window)), zstd.WithDecoderMaxMemory(batchLimit))
		if err != nil {
			return nil, fmt.Errorf("open zstd: %w", err)
		}
		return limited(d.IOReadCloser()), nil
	case compress.Snappy:
		return limited(io.NopCloser(newSnappy(data, window))), nil
	case compress.Gzip, compress.Lz4:
		return limited(codec.Codec().NewReader(bytes.NewReader(data))), nil
	}
	return nil, fmt.Errorf("codec %d is unknown", codec)
}

// limitReader fails after batchLimit bytes.
type limitReader struct {
	io.ReadCloser
	left int64
}

func limited(r io.ReadCloser) *limitReader { return &limitReader{r, batchLimit} }

func (l *limitReader) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errBomb
	}
	return n, err
}

// xerialMagic heads snappy data as Java clients write it: blocks with their lengths.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHead = 16 // bytes: the magic and two versions

// snappyReader reads one raw block, or the blocks of xerial's framing.
type snappyReader struct {
	blocks []byte // not read yet
	framed bool
	window int
	block  []byte // memory of the current block
	rest   []byte // of the current block, not read yet
}

func newSnappy(data []byte, window int) *snappyReader {
	framed := len(data) >= xerialHead && bytes.Equal(data[:len(xerialMagic)], xerialMagic)
	if framed {
		data = data[xerialHead:]
	}
	return &snappyReader{blocks: data, framed: framed, window: window}
}

func (s *snappyReader) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if len(s.blocks) == 0 {
			return 0, io.EOF
		}
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *snappyReader) next() (err error) {
	block := s.blocks
	s.blocks = nil
	if s.framed {
		if len(block) < 4 {
			return io.ErrUnexpectedEOF
		}
		size := binary.BigEndian.Uint32(block)
		if block = block[4:]; uint64(size) > uint64(len(block)) {
			return io.ErrUnexpectedEOF
		}
		block, s.blocks = block[:size], block[size:]
	}
	size, err := snappy.DecodedLen(block)
	if err != nil {
		return err
	}
	if size > s.window {
		return errBomb
	}
	s.block, err = snappy.Decode(s.block[:cap(s.block)], block)
	s.rest = s.block
	return err
}
