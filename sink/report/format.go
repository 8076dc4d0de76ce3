package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// count writes n with commas: 57,600.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// percent writes a share of 1 with one decimal.
func percent(x float64) string { return fmt.Sprintf("%.1f%%", 100*x) }

// points100 writes a difference of shares of 1, with its sign: -2.5 points.
func points100(x float64) string { return fmt.Sprintf("%+.1f points", 100*x) }

// figure writes x with about three digits that count.
func figure(x float64) string {
	switch a := math.Abs(x); {
	case a >= 100:
		return count(int64(math.Round(x)))
	case a >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case a >= 0.1 || a == 0:
		return strconv.FormatFloat(x, 'f', 2, 64)
	default:
		return strconv.FormatFloat(x, 'g', 2, 64)
	}
}

// span writes d in its two largest units: 5 min 12 s.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Second {
		return "under 1 s"
	}
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	var parts []string
	for _, u := range units {
		n := d / u.size
		d -= n * u.size
		if n > 0 || len(parts) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
		}
		if len(parts) == 2 {
			break
		}
	}
	return strings.Join(parts, " ")
}

// axisLabel writes a tick of an axis whose ticks are step apart.
func axisLabel(v, step float64) string {
	a := math.Abs(v)
	switch {
	case v == 0:
		return "0"
	case a >= 10_000 && step >= 100:
		return strconv.FormatFloat(math.Round(v/10)/100, 'f', -1, 64) + "k"
	case a < 1e-4 || a >= 1e7:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	decimals := 0
	for t := step; decimals < 8 && math.Abs(t-math.Round(t)) > 1e-6; t *= 10 {
		decimals++
	}
	if decimals == 0 {
		return count(int64(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// percentLabel is axisLabel for shares of 1.
func percentLabel(v, step float64) string { return axisLabel(100*v, 100*step) + "%" }
