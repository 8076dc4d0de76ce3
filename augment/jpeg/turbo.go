//go:build cgo && !nojpegturbo

package jpeg

/*
#cgo CFLAGS: -std=c99 -O2 -Wall -Wextra
#cgo LDFLAGS: -ljpeg
#cgo noescape turbo_decode
#cgo nocallback turbo_decode
#include "turbo.h"
*/
import "C"

import (
	"fmt"

	"mocostream/augment/rgb"
)

// Name tells which decoder this build uses, with its version.
func Name() string { return C.GoString(C.turbo_name()) }

// Decode decodes data, whose markers Scan read as h, into dst, using the memory dst has where that is enough. Chroma is
// upsampled with libjpeg's triangle filter ("fancy") and the inverse DCT is the accurate integer one, as in Pillow. On error
// the pixels of dst are undefined. It may be called concurrently.
func Decode(dst *rgb.Image, data []byte, h Header) error {
	if len(data) == 0 || h.Width <= 0 || h.Height <= 0 {
		return fmt.Errorf("%w: empty", ErrTruncated)
	}
	dst.Resize(h.Width, h.Height)
	var message [C.TURBO_MESSAGE]C.char
	status := C.turbo_decode((*C.uchar)(&data[0]), C.size_t(len(data)), (*C.uchar)(&dst.Pix[0]), C.uint(h.Width),
		C.uint(h.Height), C.int(h.Scans), C.long(maxMemory(h)), &message[0])
	if status == C.TURBO_OK {
		return nil
	}
	text := C.GoString(&message[0])
	switch status {
	case C.TURBO_TRUNCATED:
		return fmt.Errorf("%w: %s", ErrTruncated, text)
	case C.TURBO_UNSUPPORTED:
		return fmt.Errorf("%w: %s", ErrUnsupported, text)
	}
	return fmt.Errorf("%w: %s", ErrCorrupt, text)
}

// maxMemory bounds libjpeg's own memory: 16-bit coefficients of every component, of blocks padded to whole MCUs of up to
// 32 x 32 pixels, and some rows.
func maxMemory(h Header) int64 {
	w, ht := int64(h.Width+31)&^31, int64(h.Height+31)&^31
	return 2*w*ht*int64(h.Components) + 512*w + 4<<20
}
