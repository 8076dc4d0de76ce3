package frozen

import (
	"cmp"
	"errors"
	"fmt"
)

const (
	// DefaultMaxBytes is the largest image that a source reads whole when its options do not say.
	DefaultMaxBytes = 32 << 20
	// LargestMaxBytes is the highest limit that its options may set.
	LargestMaxBytes = 1 << 30
)

// Check looks at the options that every bounded source has: the folder for its manifest, and the largest image in bytes,
// which it returns with 0 replaced by DefaultMaxBytes. Its error goes behind what the source calls itself.
func Check(manifestDir string, maxBytes int64) (int64, error) {
	if manifestDir == "" {
		return 0, errors.New("no folder for its manifest given")
	}
	if maxBytes < 0 || maxBytes > LargestMaxBytes {
		return 0, fmt.Errorf("largest image of %d bytes is not in 1..%d", maxBytes, LargestMaxBytes)
	}
	return cmp.Or(maxBytes, DefaultMaxBytes), nil
}
