package ingest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
)

// parseManifest reads all of a manifest once: what it accepts is exactly what encodeManifest writes. The caller
// compares the hash with the one it expects.
func parseManifest(file io.ReaderAt, size int64) (*Manifest, error) {
	l, err := readTrailer(file, size)
	if err != nil {
		return nil, err
	}
	digest := sha256.New()
	head := make([]byte, len(manifestMagic))
	if err := readAt(file, head, 0); err != nil {
		return nil, err
	}
	if !bytes.Equal(head, []byte(manifestMagic)) {
		return nil, fmt.Errorf("%w: it does not begin as a manifest does", ErrManifest)
	}
	digest.Write(head)
	records := io.TeeReader(l.records(file), digest)
	index := io.NewSectionReader(file, l.index, int64(l.count)*indexWidth)
	if err := checkRecords(records, index, l); err != nil {
		return nil, err
	}
	return &Manifest{file: file, layout: l, hash: hex.EncodeToString(digest.Sum(nil))}, nil
}

// readTrailer reads where things lie. What it returns fits into the file.
func readTrailer(file io.ReaderAt, size int64) (layout, error) {
	if size < int64(len(manifestMagic)+trailerSize) {
		return layout{}, fmt.Errorf("%w: %d bytes are too few", ErrManifest, size)
	}
	raw := make([]byte, trailerSize)
	if err := readAt(file, raw, size-int64(trailerSize)); err != nil {
		return layout{}, err
	}
	index, count, samples := binary.LittleEndian.Uint64(raw[0:]), binary.LittleEndian.Uint64(raw[8:]), binary.LittleEndian.Uint64(raw[16:])
	if string(raw[24:]) != trailerMagic {
		return layout{}, fmt.Errorf("%w: its end is missing", ErrManifest)
	}
	if count > math.MaxInt32 || samples > math.MaxInt64 || index < uint64(len(manifestMagic)) || index > uint64(size) ||
		index+count*indexWidth+uint64(trailerSize) != uint64(size) {
		return layout{}, fmt.Errorf("%w: its parts do not fit its %d bytes", ErrManifest, size)
	}
	return layout{index: int64(index), count: int32(count), samples: int64(samples)}, nil
}

// checkRecords walks records and index side by side.
func checkRecords(records, index io.Reader, want layout) error {
	r := newRecordReader(bufio.NewReaderSize(records, ioBuffer))
	offsets := bufio.NewReaderSize(index, ioBuffer)
	got := layout{index: int64(len(manifestMagic))}
	var raw [indexWidth]byte
	for range want.count {
		if _, err := io.ReadFull(offsets, raw[:]); err != nil {
			return unexpected(err)
		}
		if binary.LittleEndian.Uint64(raw[:]) != uint64(r.offset) {
			return fmt.Errorf("%w: index entry %d points elsewhere", ErrManifest, got.count)
		}
		p, err := r.next()
		if err != nil {
			return err
		}
		if err := got.add(p); err != nil {
			return err
		}
	}
	if got != want {
		return fmt.Errorf("%w: its totals do not match its records", ErrManifest)
	}
	return nil
}
