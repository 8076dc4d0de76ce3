package s3

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"mocostream/internal/objects"
	"time"
)

// A journal is what a Follow knows, as entries that are only ever appended:
//
//	entry   length of the payload uint32, CRC-32C of it uint32, payload; all numbers little-endian
//	payload a byte that says which, then
//	  'f'   magic, name of the stream         the first entry
//	  'b'   ordinal, chain [16]byte           objects before it are left out; before all objects
//	  'o'   ordinal, modified, size, key, etag, version   an object that was found
//	  's'   hash [12]byte, seconds uint32     an object that is known but not to be read, or not any more
//	  't'   state                             how far the scans are; the last one counts
//
// Numbers within payloads are varints, texts have their length before them. A checkpoint holds a journal too.
const (
	journalMagic = "mocostream follow 1"
	longestEntry = 16 << 10

	entryFirst  = 'f'
	entryBase   = 'b'
	entryObject = 'o'
	entrySeen   = 's'
	entryState  = 't'
)

// errJournal says that the bytes of a journal are torn or were edited.
var errJournal = errors.New("journal is damaged")

// found is an object with the place that it has in the stream for ever.
type found struct {
	objects.Object
	ordinal int64
}

// print identifies a content under a key.
type print [12]byte

func printOf(key, etag string) print {
	sum := sha256.Sum256(append(append(append([]byte(nil), key...), 0), bare(etag)...))
	return print(sum[:12])
}

// link names all objects up to one: two journals with the same link agree on them.
type link [16]byte

// after returns the link behind the object of an entry.
func (l link) after(object []byte) link {
	sum := sha256.Sum256(append(l[:], object...))
	return link(sum[:16])
}

// state is how far the scans are.
type state struct {
	begun   bool  // the first scan is complete
	latest  bool  // the first scan only looks which objects are there
	horizon int64 // seconds since 1970: an object that is older and unknown comes too late
	forget  int64 // seconds: objects older than this are not remembered
	late    uint64
}

// entry is one entry of a journal; of the fields only those of its kind are set.
type entry struct {
	kind    byte
	payload []byte // valid until the next one is read
	name    string
	base    int64
	link    link
	object  found
	print   print
	seconds int64
	state   state
}

func appendEntry(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, payload...)
}

func firstPayload(name string) []byte {
	return appendText(appendText([]byte{entryFirst}, journalMagic), name)
}

func basePayload(ordinal int64, l link) []byte {
	return append(binary.AppendVarint([]byte{entryBase}, ordinal), l[:]...)
}

func objectPayload(o found) []byte {
	b := binary.AppendVarint([]byte{entryObject}, o.ordinal)
	b = binary.AppendVarint(b, o.Modified.UnixMicro())
	b = binary.AppendVarint(b, o.Size)
	return appendText(appendText(appendText(b, o.Key), o.ETag), o.Version)
}

func seenPayload(p print, seconds int64) []byte {
	return binary.LittleEndian.AppendUint32(append([]byte{entrySeen}, p[:]...), clampSeconds(seconds))
}

func statePayload(s state) []byte {
	flags := byte(0)
	if s.begun {
		flags |= 1
	}
	if s.latest {
		flags |= 2
	}
	b := []byte{entryState, flags}
	b = binary.AppendVarint(b, s.horizon)
	b = binary.AppendVarint(b, s.forget)
	return binary.AppendUvarint(b, s.late)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func clampSeconds(seconds int64) uint32 { return uint32(max(0, min(seconds, math.MaxUint32))) }

// journalReader reads entries one after the other.
type journalReader struct {
	r       *bufio.Reader
	read    int64 // bytes of the entries returned
	payload []byte
}

func newJournalReader(r io.Reader) *journalReader {
	return &journalReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next entry, io.EOF behind the last, errJournal when what follows is none.
func (j *journalReader) next() (entry, error) {
	var head [8]byte
	if _, err := io.ReadFull(j.r, head[:]); err != nil {
		return entry{}, torn(err)
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length == 0 || length > longestEntry {
		return entry{}, fmt.Errorf("%w: an entry of %d bytes", errJournal, length)
	}
	if cap(j.payload) < int(length) {
		j.payload = make([]byte, longestEntry)
	}
	payload := j.payload[:length]
	if _, err := io.ReadFull(j.r, payload); err != nil {
		return entry{}, torn(io.ErrUnexpectedEOF)
	}
	if crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(head[4:]) {
		return entry{}, fmt.Errorf("%w: checksum of the entry at byte %d", errJournal, j.read)
	}
	e, err := parseEntry(payload)
	if err == nil {
		j.read += int64(len(head)) + int64(length)
	}
	return e, err
}

func torn(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within an entry", errJournal)
	}
	return err
}

func parseEntry(payload []byte) (entry, error) {
	e := entry{kind: payload[0], payload: payload}
	p := parser{rest: payload[1:]}
	switch e.kind {
	case entryFirst:
		p.failed = p.text() != journalMagic
		e.name = p.text()
	case entryBase:
		e.base = p.number()
		copy(e.link[:], p.bytes(len(e.link)))
	case entryObject:
		e.object.ordinal = p.number()
		e.object.Modified = time.UnixMicro(p.number()).UTC()
		e.object.Size = p.number()
		e.object.Key, e.object.ETag, e.object.Version = p.text(), p.text(), p.text()
		p.failed = p.failed || e.object.Key == "" || e.object.Size < 0 || e.object.ordinal < 0
	case entrySeen:
		copy(e.print[:], p.bytes(len(e.print)))
		if raw := p.bytes(4); raw != nil {
			e.seconds = int64(binary.LittleEndian.Uint32(raw))
		}
	case entryState:
		flags := p.bytes(1)
		e.state.horizon, e.state.forget = p.number(), p.number()
		e.state.late = p.unsigned()
		if flags != nil {
			e.state.begun, e.state.latest = flags[0]&1 != 0, flags[0]&2 != 0
		}
	default:
		return e, fmt.Errorf("%w: an entry of kind %q; a newer program may have written it", errJournal, e.kind)
	}
	if p.failed || len(p.rest) > 0 {
		return e, fmt.Errorf("%w: an entry of kind %q does not add up", errJournal, e.kind)
	}
	return e, nil
}

// parser takes a payload apart.
type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) bytes(n int) []byte {
	if n < 0 || n > len(p.rest) {
		p.failed, p.rest = true, nil
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) number() int64 {
	v, n := binary.Varint(p.rest)
	p.bytes(p.taken(n))
	return v
}

func (p *parser) unsigned() uint64 {
	v, n := binary.Uvarint(p.rest)
	p.bytes(p.taken(n))
	return v
}

// taken is the bytes of a varint; none is a failure.
func (p *parser) taken(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

func (p *parser) text() string {
	n := p.unsigned()
	if n > uint64(len(p.rest)) {
		p.failed = true
		return ""
	}
	return string(p.bytes(int(n)))
}
