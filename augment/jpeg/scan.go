package jpeg

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Header is what the markers of a JPEG file say.
type Header struct {
	Width, Height int // pixels, 1 to 65535
	Components    int // 1 grey, 3 colour, 4 CMYK or YCCK
	Progressive   bool
	Scans         int // number of SOS segments; each costs a decoder one pass over the whole image
}

// Marker codes, ITU-T T.81 table B.1.
const (
	markerTEM  = 0x01
	markerSOF0 = 0xC0
	markerSOF2 = 0xC2
	markerDHT  = 0xC4
	markerSOFF = 0xCF
	markerRST0 = 0xD0
	markerRST7 = 0xD7
	markerSOI  = 0xD8
	markerEOI  = 0xD9
	markerSOS  = 0xDA
)

// Scan walks the markers of data from SOI to EOI, stepping over entropy-coded data without decoding it. It allocates
// nothing and takes time linear in len(data). It returns an error of one of the classes of this package where the markers
// break the format or name a kind of JPEG that Decode does not read; what follows EOI is ignored.
func Scan(data []byte) (Header, error) {
	if len(data) < 2 || data[0] != 0xFF || data[1] != markerSOI {
		return Header{}, fmt.Errorf("%w: no SOI marker", ErrCorrupt)
	}
	s := scanner{data: data, pos: 2}
	for {
		marker, err := s.marker()
		if err != nil {
			return s.header, err
		}
		if marker == markerEOI {
			return s.header, s.end()
		}
		if err := s.segment(marker); err != nil {
			return s.header, err
		}
	}
}

type scanner struct {
	data   []byte
	pos    int
	header Header
}

// marker reads the next marker, which has to stand right here (fill bytes aside).
func (s *scanner) marker() (byte, error) {
	if s.pos >= len(s.data) {
		return 0, fmt.Errorf("%w: no EOI marker", ErrTruncated)
	}
	if s.data[s.pos] != 0xFF {
		return 0, fmt.Errorf("%w: byte %#02x at %d where a marker belongs", ErrCorrupt, s.data[s.pos], s.pos)
	}
	for s.pos < len(s.data) && s.data[s.pos] == 0xFF {
		s.pos++
	}
	if s.pos == len(s.data) {
		return 0, fmt.Errorf("%w: no EOI marker", ErrTruncated)
	}
	s.pos++
	return s.data[s.pos-1], nil
}

// segment reads or steps over what belongs to marker.
func (s *scanner) segment(marker byte) error {
	switch {
	case marker == 0 || marker == markerSOI:
		return fmt.Errorf("%w: marker %#02x at %d", ErrCorrupt, marker, s.pos-1)
	case marker == markerTEM || markerRST0 <= marker && marker <= markerRST7:
		return nil // they stand alone
	}
	body, err := s.body()
	if err != nil {
		return err
	}
	switch {
	case marker == markerSOS:
		return s.startOfScan(body)
	case marker == markerDHT:
		return nil
	case markerSOF0 <= marker && marker <= markerSOFF:
		return s.startOfFrame(marker, body)
	}
	return nil
}

// body returns the segment's content and moves behind it.
func (s *scanner) body() ([]byte, error) {
	if len(s.data)-s.pos < 2 {
		return nil, fmt.Errorf("%w: ends inside a segment's length", ErrTruncated)
	}
	n := int(binary.BigEndian.Uint16(s.data[s.pos:]))
	if n < 2 {
		return nil, fmt.Errorf("%w: segment of length %d at %d", ErrCorrupt, n, s.pos)
	}
	if n > len(s.data)-s.pos {
		return nil, fmt.Errorf("%w: ends inside a segment", ErrTruncated)
	}
	body := s.data[s.pos+2 : s.pos+n]
	s.pos += n
	return body, nil
}

func (s *scanner) startOfFrame(marker byte, body []byte) error {
	if marker > markerSOF2 {
		return fmt.Errorf("%w: coding process SOF%d", ErrUnsupported, marker-markerSOF0)
	}
	if s.header.Components != 0 {
		return fmt.Errorf("%w: second frame header", ErrCorrupt)
	}
	if len(body) < 6 || len(body) != 6+3*int(body[5]) {
		return fmt.Errorf("%w: frame header of %d bytes", ErrCorrupt, len(body))
	}
	h := Header{
		Height:      int(binary.BigEndian.Uint16(body[1:])),
		Width:       int(binary.BigEndian.Uint16(body[3:])),
		Components:  int(body[5]),
		Progressive: marker == markerSOF2,
	}
	if body[0] != 8 {
		return fmt.Errorf("%w: %d bits a component", ErrUnsupported, body[0])
	}
	if h.Components != 1 && h.Components != 3 && h.Components != 4 {
		return fmt.Errorf("%w: %d components", ErrUnsupported, h.Components)
	}
	if h.Width == 0 || h.Height == 0 { // a height of 0 means one that follows in a DNL segment
		return fmt.Errorf("%w: %d x %d pixels in the frame header", ErrUnsupported, h.Width, h.Height)
	}
	s.header = h
	return nil
}

func (s *scanner) startOfScan(body []byte) error {
	if s.header.Components == 0 {
		return fmt.Errorf("%w: scan before the frame header", ErrCorrupt)
	}
	if len(body) < 1 || body[0] < 1 || body[0] > 4 || len(body) != 4+2*int(body[0]) {
		return fmt.Errorf("%w: scan header of %d bytes", ErrCorrupt, len(body))
	}
	s.header.Scans++
	s.skipEntropyCoded()
	return nil
}

// skipEntropyCoded moves to the next marker that is not a stuffed zero or a restart.
func (s *scanner) skipEntropyCoded() {
	for {
		i := bytes.IndexByte(s.data[s.pos:], 0xFF)
		if i < 0 || s.pos+i+1 >= len(s.data) {
			s.pos = len(s.data)
			return
		}
		s.pos += i
		next := s.data[s.pos+1]
		if next != 0 && next != 0xFF && (next < markerRST0 || next > markerRST7) {
			return
		}
		s.pos++ // onto the byte after 0xFF: a run of fill bytes is looked at byte by byte
	}
}

func (s *scanner) end() error {
	if s.header.Scans == 0 {
		return fmt.Errorf("%w: no image data", ErrCorrupt)
	}
	return nil
}
