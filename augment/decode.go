package augment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/png"
	"io"

	"golang.org/x/image/webp"

	"mocostream/augment/jpeg"
	"mocostream/augment/rgb"
)

// keptBytes is the largest pixel buffer a decoder keeps from one image to the next: 8 million pixels.
const keptBytes = 24 << 20

// decoder decodes images of any known format, one after the other.
type decoder struct {
	limits Limits // with defaults
	rgb    rgb.Image
}

// decode returns img's pixels, valid until the next call, or a *BadImage.
func (d *decoder) decode(img []byte) (m *rgb.Image, err error) {
	// The decoders are other people's and their input is anybody's: a panic in one is a bad image, not the end of the run.
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, refuse(ReasonCorrupt, "decoder panicked: %v", p)
		}
	}()
	if err := d.limits.checkFile(img); err != nil {
		return nil, err
	}
	if cap(d.rgb.Pix) > keptBytes {
		d.rgb.Pix = nil
	}
	switch {
	case bytes.HasPrefix(img, []byte("\xFF\xD8\xFF")):
		err = d.jpeg(img)
	case bytes.HasPrefix(img, []byte(pngMagic)):
		err = d.png(img)
	case len(img) >= 12 && string(img[:4]) == "RIFF" && string(img[8:12]) == "WEBP":
		err = d.webp(img)
	default:
		err = refuse(ReasonNotAnImage, "starts with %q, not as a JPEG, PNG or WebP file", img[:min(len(img), 8)])
	}
	if err != nil {
		return nil, err
	}
	return &d.rgb, nil
}

// DecodeRGB decodes a JPEG, PNG or WebP image within limits, alpha dropped. It returns a *BadImage where it cannot.
func DecodeRGB(img []byte, limits Limits) (*rgb.Image, error) {
	d := decoder{limits: limits.WithDefaults()}
	return d.decode(img)
}

func (d *decoder) jpeg(img []byte) error {
	h, err := jpeg.Scan(img)
	if h.Components != 0 { // the frame header was read: its claims say more than what may be wrong behind it
		if err := d.limits.checkHeader(int64(h.Width), int64(h.Height), h.Scans, len(img)); err != nil {
			return err
		}
	}
	if err == nil {
		err = jpeg.Decode(&d.rgb, img, h)
	}
	return asBadImage(err)
}

const (
	pngMagic  = "\x89PNG\r\n\x1a\n"
	pngHeader = len(pngMagic) + 8 + 13 // magic, length and name of the IHDR chunk, its content
)

// png reads the dimensions itself: image/png multiplies them before anyone can object.
func (d *decoder) png(img []byte) error {
	if len(img) < pngHeader {
		return refuse(ReasonTruncated, "PNG header of %d bytes", len(img))
	}
	if string(img[8:16]) != "\x00\x00\x00\x0dIHDR" {
		return refuse(ReasonCorrupt, "PNG does not start with IHDR")
	}
	width, height := binary.BigEndian.Uint32(img[16:]), binary.BigEndian.Uint32(img[20:])
	if width > 1<<31-1 || height > 1<<31-1 {
		return refuse(ReasonCorrupt, "PNG of %d x %d pixels", width, height)
	}
	if err := d.limits.checkHeader(int64(width), int64(height), 1, len(img)); err != nil {
		return err
	}
	if !endsPNG(img) {
		return refuse(ReasonTruncated, "PNG without its last chunk")
	}
	m, err := png.Decode(bytes.NewReader(img))
	if err != nil {
		return asBadImage(err)
	}
	return asBadImage(rgb.FromImage(&d.rgb, m))
}

// endsPNG steps over the chunks and reports whether the last one, IEND, is there. image/png has no error of its own for
// data that end early.
func endsPNG(img []byte) bool {
	for rest := img[len(pngMagic):]; len(rest) >= 12; {
		n := 12 + uint64(binary.BigEndian.Uint32(rest)) // length, name, checksum and content
		if string(rest[4:8]) == "IEND" {
			return true
		}
		if n > uint64(len(rest)) {
			return false
		}
		rest = rest[n:]
	}
	return false
}

func (d *decoder) webp(img []byte) error {
	config, err := webp.DecodeConfig(bytes.NewReader(img))
	if err != nil {
		return asBadImage(err)
	}
	if err := d.limits.checkHeader(int64(config.Width), int64(config.Height), 1, len(img)); err != nil {
		return err
	}
	m, err := webp.Decode(bytes.NewReader(img)) // refuses a frame of other dimensions than the canvas
	if err != nil {
		return asBadImage(err)
	}
	switch m := m.(type) {
	case *image.YCbCr:
		rgb.FromYCbCr(&d.rgb, m, rgb.VP8)
	case *image.NYCbCrA:
		rgb.FromYCbCr(&d.rgb, &m.YCbCr, rgb.VP8)
	default:
		err = rgb.FromImage(&d.rgb, m)
	}
	return asBadImage(err)
}

// asBadImage classifies a decoder's error; nil stays nil.
func asBadImage(err error) error {
	if err == nil {
		return nil
	}
	return &BadImage{Reason: reasonOf(err), Detail: err.Error()}
}

func reasonOf(err error) string {
	var unsupported png.UnsupportedError
	switch {
	case errors.Is(err, jpeg.ErrTruncated), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return ReasonTruncated
	case errors.Is(err, jpeg.ErrUnsupported), errors.As(err, &unsupported):
		return ReasonUnsupported
	}
	return ReasonCorrupt
}
