//go:build !cgo || nojpegturbo

package jpeg

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"

	"mocostream/augment/rgb"
)

// Name tells which decoder this build uses.
func Name() string { return "go image/jpeg" }

// Decode decodes data, whose markers Scan read as h, into dst, using the memory dst has where that is enough. Chroma of half
// the width is interpolated as by libjpeg; pixels differ from its by a few levels. On error the pixels of dst are
// undefined. It may be called concurrently.
func Decode(dst *rgb.Image, data []byte, h Header) error {
	m, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return classify(err)
	}
	if m.Bounds() != image.Rect(0, 0, h.Width, h.Height) {
		return fmt.Errorf("%w: decoded to %v, not %d x %d", ErrCorrupt, m.Bounds(), h.Width, h.Height)
	}
	if err := rgb.FromImage(dst, m); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
}

func classify(err error) error {
	var unsupported jpeg.UnsupportedError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	case errors.As(err, &unsupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}
