// Package jpeg decodes JPEG files to RGB through libjpeg-turbo, strictly: what the library would only warn about, such as
// missing or damaged data, is an error here, and nothing is decoded before Scan has read the file's markers. A build without
// cgo, or with the tag nojpegturbo, uses Go's image/jpeg instead, with the same functions and the same errors.
//
// The EXIF orientation is ignored, as Pillow and torchvision ignore it unless asked.
package jpeg

import "errors"

// Classes of errors of Scan and Decode, for errors.Is. The error itself says more.
var (
	// ErrTruncated: the data ends before the image does.
	ErrTruncated = errors.New("truncated JPEG")
	// ErrCorrupt: the data breaks the format.
	ErrCorrupt = errors.New("corrupt JPEG")
	// ErrUnsupported: a lawful JPEG of a kind not read here (12 bits, lossless, hierarchical, arithmetic coding, two components).
	ErrUnsupported = errors.New("unsupported JPEG")
)
