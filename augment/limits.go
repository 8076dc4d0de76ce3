package augment

import "fmt"

// Reasons of a BadImage: short classes, fit for metric labels.
const (
	ReasonEmpty         = "empty"           // no bytes
	ReasonNotAnImage    = "not_an_image"    // the first bytes are not those of a JPEG, PNG or WebP file
	ReasonUnsupported   = "unsupported"     // a lawful file of a kind that is not read
	ReasonTooLargeBytes = "too_large_bytes" // Limits.MaxBytes
	ReasonTooManyPixels = "too_many_pixels" // Limits.MaxPixels
	ReasonSide          = "side"            // Limits.MaxSide
	ReasonTooSmall      = "too_small"       // Limits.MinSide
	ReasonTooManyScans  = "too_many_scans"  // Limits.MaxScans, or scans x pixels
	ReasonRatio         = "ratio"           // decodes to far more bytes than it has
	ReasonTruncated     = "truncated"       // the data ends early
	ReasonCorrupt       = "corrupt"         // the data breaks its format
	ReasonQuarantined   = "quarantined"     // it ended a process before (PoolOptions.Refused)
	ReasonUnavailable   = "unavailable"     // the source has no image for it: an object that is gone, a message without one
)

// Reasons lists the reasons of a BadImage.
func Reasons() []string {
	return []string{
		ReasonEmpty, ReasonNotAnImage, ReasonUnsupported, ReasonTooLargeBytes, ReasonTooManyPixels, ReasonSide, ReasonTooSmall,
		ReasonTooManyScans, ReasonRatio, ReasonTruncated, ReasonCorrupt, ReasonQuarantined, ReasonUnavailable,
	}
}

// BadImage is the error for an image that cannot be decoded or breaks a limit. It concerns this one image only.
type BadImage struct {
	Reason string // one of the constants
	Detail string // for people
}

func (b *BadImage) Error() string { return fmt.Sprintf("bad image (%s): %s", b.Reason, b.Detail) }

func refuse(reason string, format string, args ...any) error {
	return &BadImage{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// Limits bound what one encoded image may cost. They are checked on the file's header, before anything is decoded. A
// field that is 0 means its default.
type Limits struct {
	MaxBytes  int // of the encoded file; default 32 MiB
	MaxPixels int // width x height; default 50,000,000
	MaxSide   int // of width and of height; default 16384
	MinSide   int // of width and of height; default 8
	MaxScans  int // passes over the image in a JPEG file; default 100
}

const (
	maxScanPixels   = 2_000_000_000 // scans x pixels: a decoder's time goes with it
	maxExpansion    = 1000          // decoded bytes for one encoded byte
	expansionPixels = 1_000_000     // smaller images may expand as they like
)

// WithDefaults returns l with every 0 replaced.
func (l Limits) WithDefaults() Limits {
	l.MaxBytes = orDefault(l.MaxBytes, 32<<20)
	l.MaxPixels = orDefault(l.MaxPixels, 50_000_000)
	l.MaxSide = orDefault(l.MaxSide, 16384)
	l.MinSide = orDefault(l.MinSide, 8)
	l.MaxScans = orDefault(l.MaxScans, 100)
	return l
}

func orDefault(v, otherwise int) int {
	if v == 0 {
		return otherwise
	}
	return v
}

// checkFile checks what can be said before the header is read.
func (l Limits) checkFile(img []byte) error {
	if len(img) == 0 {
		return refuse(ReasonEmpty, "no bytes")
	}
	if len(img) > l.MaxBytes {
		return refuse(ReasonTooLargeBytes, "%d bytes, the limit is %d", len(img), l.MaxBytes)
	}
	return nil
}

// checkHeader checks the dimensions that an encoded image of size bytes claims.
func (l Limits) checkHeader(width, height int64, scans, size int) error {
	switch pixels := width * height; { // below 2^62: each is below 2^31
	case max(width, height) > int64(l.MaxSide):
		return refuse(ReasonSide, "%d x %d pixels, the limit is %d a side", width, height, l.MaxSide)
	case min(width, height) < int64(l.MinSide):
		return refuse(ReasonTooSmall, "%d x %d pixels, the least is %d a side", width, height, l.MinSide)
	case pixels > int64(l.MaxPixels):
		return refuse(ReasonTooManyPixels, "%d x %d pixels, the limit is %d together", width, height, l.MaxPixels)
	case scans > l.MaxScans:
		return refuse(ReasonTooManyScans, "%d scans, the limit is %d", scans, l.MaxScans)
	case pixels*int64(scans) > maxScanPixels:
		return refuse(ReasonTooManyScans, "%d scans of %d x %d pixels", scans, width, height)
	case pixels >= expansionPixels && pixels*3 > maxExpansion*int64(size):
		return refuse(ReasonRatio, "%d bytes claim %d x %d pixels", size, width, height)
	}
	return nil
}
