package safetensors

import (
	"fmt"
	"math"
)

// maxRank bounds the dimensions of one tensor, so that a hostile header cannot make its shapes larger than itself.
const maxRank = 64

// Size returns the bytes of one element of dtype, and an error naming it if the format's name is not known here.
func Size(dtype string) (int, error) {
	switch dtype {
	case "BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0":
		return 1, nil
	case "U16", "I16", "F16", "BF16":
		return 2, nil
	case "U32", "I32", "F32":
		return 4, nil
	case "U64", "I64", "F64", "C64":
		return 8, nil
	}
	return 0, fmt.Errorf("unknown dtype %q", dtype)
}

// byteLen returns the bytes that an array takes, refusing negative dimensions and products beyond int64.
func byteLen(dtype string, shape []int) (int64, error) {
	size, err := Size(dtype)
	if err != nil {
		return 0, err
	}
	if len(shape) > maxRank {
		return 0, fmt.Errorf("shape has %d dimensions, more than %d", len(shape), maxRank)
	}
	n := int64(size)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		if d > 0 && n > math.MaxInt64/int64(d) {
			return 0, fmt.Errorf("shape %v overflows", shape)
		}
		n *= int64(d)
	}
	return n, nil
}
