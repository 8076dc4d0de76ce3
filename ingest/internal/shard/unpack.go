package shard

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// codec is a compression of Parquet or Arrow IPC; the numbers are Parquet's.
type codec int32

const (
	codecNone     codec = 0
	codecSnappy   codec = 1
	codecGzip     codec = 2
	codecBrotli   codec = 4
	codecZstd     codec = 6
	codecLz4Raw   codec = 7
	codecLz4Frame codec = -1 // Arrow's
)

var errUnpacked = errors.New("unpacks to another length than it says")

// unpacker decompresses into memory that is there already, so that what unpacks to more than it says costs nothing. Its
// zero value works; close frees the decoder.
type unpacker struct{ zstd *zstd.Decoder }

// unpack fills dst, all of it and no more.
func (u *unpacker) unpack(c codec, dst, src []byte) error {
	switch c {
	case codecNone:
		if len(src) != len(dst) {
			return errUnpacked
		}
		copy(dst, src)
		return nil
	case codecSnappy:
		if n, err := snappy.DecodedLen(src); err != nil || n != len(dst) {
			return errors.Join(errUnpacked, err)
		}
		_, err := snappy.Decode(dst, src)
		return err
	case codecGzip:
		r, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return err
		}
		return readExactly(r, dst)
	case codecBrotli:
		return readExactly(brotli.NewReader(bytes.NewReader(src)), dst)
	case codecZstd:
		return u.unzstd(dst, src)
	case codecLz4Raw:
		n, err := lz4.UncompressBlock(src, dst)
		if err == nil && n != len(dst) {
			err = errUnpacked
		}
		return err
	case codecLz4Frame:
		return readExactly(lz4.NewReader(bytes.NewReader(src)), dst)
	}
	return fmt.Errorf("compression %d is not supported; write it with zstd, snappy, gzip, brotli, lz4_raw or none", c)
}

func (u *unpacker) unzstd(dst, src []byte) error {
	if u.zstd == nil {
		var err error
		if u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true)); err != nil {
			return err
		}
	}
	out, err := u.zstd.DecodeAll(src, dst[:0:len(dst)])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || err == nil && len(out) != len(dst) {
		return errUnpacked
	}
	return err
}

func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
}

// readExactly fills dst and checks that r ends there.
func readExactly(r io.Reader, dst []byte) error {
	if _, err := io.ReadFull(r, dst); err != nil {
		return noEOF(err)
	}
	var more [1]byte
	switch n, err := io.ReadFull(r, more[:]); {
	case n > 0:
		return errUnpacked
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
