package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits in the order in which formatSize tries them: the largest first.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// parseSize reads bytes: "512MiB", "1.5GiB", "20MB", "4096".
func parseSize(s string) (int64, error) {
	bad := fmt.Errorf("%q is not a size; write a number with a unit, as 512MiB or 2GiB", s)
	digits, unit := s, 1.0
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = strings.TrimRight(rest, " "), u.bytes
			break
		}
	}
	if digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, bad
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n <= math.MaxInt64/int64(unit) {
		return n * int64(unit), nil
	}
	x, err := strconv.ParseFloat(digits, 64)
	if err != nil || x*unit >= math.MaxInt64 {
		return 0, bad
	}
	if x*unit != math.Trunc(x*unit) {
		return 0, fmt.Errorf("%q is not a whole number of bytes; use a smaller unit", s)
	}
	return int64(x * unit), nil
}

// formatSize renders bytes in the largest binary unit that is exact.
func formatSize(n int64) string {
	for _, u := range sizeUnits[:4] {
		if b := int64(u.bytes); n != 0 && n%b == 0 {
			return strconv.FormatInt(n/b, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
