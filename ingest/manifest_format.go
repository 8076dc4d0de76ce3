package ingest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"strings"
	"unicode/utf8"
)

// A manifest's file, all numbers little-endian:
//
//	header  [16]byte "mocostream mft 1"
//	records size uint64, count uint64, name length uint32, name; one a partition. Where there is a version, the name
//	        is followed by a zero byte and the version, and the length counts all of it
//	index   uint64 file offset of each record
//	trailer offset of the index uint64, partitions uint64, samples uint64, "mftend 1"
//
// The hash is SHA-256 over header and records: what the list says, not how it is found.
const (
	manifestMagic = "mocostream mft 1"
	trailerMagic  = "mftend 1"
	recordHead    = 8 + 8 + 4
	trailerSize   = 8 + 8 + 8 + len(trailerMagic)
	indexWidth    = 8

	// MaxName is the longest name of a partition, in bytes.
	MaxName = 1 << 16

	ioBuffer = 256 << 10
)

// layout is where things lie in a manifest's file.
type layout struct {
	index   int64 // offset of the index, end of the records
	count   int32
	samples int64
}

func (l layout) records(file io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(file, int64(len(manifestMagic)), l.index-int64(len(manifestMagic)))
}

// entry reads record i by way of the index.
func (l layout) entry(file io.ReaderAt, i int32) (Partition, error) {
	var raw [2 * indexWidth]byte
	bounds := raw[:]
	if i == l.count-1 {
		bounds = raw[:indexWidth]
		binary.LittleEndian.PutUint64(raw[indexWidth:], uint64(l.index))
	}
	if err := readAt(file, bounds, l.index+int64(i)*indexWidth); err != nil {
		return Partition{}, err
	}
	start, end := int64(binary.LittleEndian.Uint64(raw[:])), int64(binary.LittleEndian.Uint64(raw[indexWidth:]))
	if start < int64(len(manifestMagic)) || end > l.index || end-start < recordHead || end-start > recordHead+MaxName {
		return Partition{}, fmt.Errorf("%w: index entry %d", ErrManifest, i)
	}
	record := make([]byte, end-start)
	if err := readAt(file, record, start); err != nil {
		return Partition{}, err
	}
	return newRecordReader(bytes.NewReader(record)).next()
}

func readAt(file io.ReaderAt, p []byte, offset int64) error {
	n, err := file.ReadAt(p, offset)
	if n == len(p) {
		return nil // ReadAt may report io.EOF beside a full read
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// encodeManifest writes a manifest into an empty file and returns its hash.
func encodeManifest(file *os.File, partitions iter.Seq2[Partition, error]) (string, error) {
	w := bufio.NewWriterSize(file, ioBuffer)
	l, hash, err := writeRecords(w, partitions)
	if err != nil {
		return "", err
	}
	if err := w.Flush(); err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	// The offsets are read back instead of kept: that is what makes memory independent of the number of partitions.
	if err := writeIndex(w, newRecordReader(bufio.NewReaderSize(l.records(file), ioBuffer)), l); err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	if err := w.Flush(); err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	return hash, nil
}

func writeRecords(file io.Writer, partitions iter.Seq2[Partition, error]) (layout, string, error) {
	digest := sha256.New()
	w := io.MultiWriter(file, digest)
	l := layout{index: int64(len(manifestMagic))}
	if _, err := io.WriteString(w, manifestMagic); err != nil {
		return l, "", fmt.Errorf("write manifest: %w", err)
	}
	record := make([]byte, 0, recordHead+256)
	for p, err := range partitions {
		if err != nil {
			return l, "", err
		}
		if err := l.add(p); err != nil {
			return l, "", fmt.Errorf("write manifest: %w", err)
		}
		record = appendRecord(record[:0], p)
		if _, err := w.Write(record); err != nil {
			return l, "", fmt.Errorf("write manifest: %w", err)
		}
	}
	return l, hex.EncodeToString(digest.Sum(nil)), nil
}

// add checks a partition and counts it in.
func (l *layout) add(p Partition) error {
	switch {
	case len(p.Name) == 0 || nameLength(p) > MaxName:
		return fmt.Errorf("%w: name of partition %d has %d bytes, not 1 to %d", ErrManifest, l.count, nameLength(p), MaxName)
	case strings.ContainsRune(p.Name, 0):
		return fmt.Errorf("%w: name %q holds a zero byte; rename it", ErrManifest, p.Name)
	case !utf8.ValidString(p.Name):
		return fmt.Errorf("%w: name %q is not UTF-8; rename it", ErrManifest, p.Name)
	case p.Size < 0 || p.Count < 0:
		return fmt.Errorf("%w: size or count of %q is negative", ErrManifest, p.Name)
	case l.count == math.MaxInt32:
		return fmt.Errorf("%w: more than %d partitions; put the images into tar shards", ErrManifest, math.MaxInt32)
	case p.Count > math.MaxInt64-l.samples:
		return fmt.Errorf("%w: more than %d samples", ErrManifest, int64(math.MaxInt64))
	}
	l.index += int64(recordHead + nameLength(p))
	l.count++
	l.samples += p.Count
	return nil
}

func appendRecord(b []byte, p Partition) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Size))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Count))
	b = binary.LittleEndian.AppendUint32(b, uint32(nameLength(p)))
	b = append(b, p.Name...)
	if p.Version != "" {
		b = append(append(b, 0), p.Version...)
	}
	return b
}

// nameLength is the bytes of name and version in a record.
func nameLength(p Partition) int {
	if p.Version == "" {
		return len(p.Name)
	}
	return len(p.Name) + 1 + len(p.Version)
}

func writeIndex(w io.Writer, records *recordReader, l layout) error {
	for range l.count {
		if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(records.offset))); err != nil {
			return err
		}
		if _, err := records.next(); err != nil {
			return err
		}
	}
	_, err := w.Write(appendTrailer(nil, l))
	return err
}

func appendTrailer(b []byte, l layout) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(l.index))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.count))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.samples))
	return append(b, trailerMagic...)
}

// recordReader reads records one after the other.
type recordReader struct {
	r      io.Reader
	offset int64 // of the next record in the file, when r began at the first
	name   []byte
}

func newRecordReader(r io.Reader) *recordReader {
	return &recordReader{r: r, offset: int64(len(manifestMagic))}
}

func (r *recordReader) next() (Partition, error) {
	var head [recordHead]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return Partition{}, unexpected(err)
	}
	length := binary.LittleEndian.Uint32(head[16:])
	if length > MaxName {
		return Partition{}, fmt.Errorf("%w: a name of %d bytes at offset %d", ErrManifest, length, r.offset)
	}
	if cap(r.name) < int(length) {
		r.name = make([]byte, length)
	}
	r.name = r.name[:length]
	if _, err := io.ReadFull(r.r, r.name); err != nil {
		return Partition{}, unexpected(err)
	}
	r.offset += int64(recordHead + int(length))
	name, version, _ := strings.Cut(string(r.name), "\x00")
	return Partition{
		Name:    name,
		Version: version,
		Size:    int64(binary.LittleEndian.Uint64(head[0:])),
		Count:   int64(binary.LittleEndian.Uint64(head[8:])),
	}, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrManifest)
	}
	return err
}
