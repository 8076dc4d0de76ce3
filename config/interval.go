package config

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
)

// interval is a range tag: "[1,)", "(0,1]".
type interval struct {
	lo, hi         float64
	loText, hiText string // "" where unbounded
	loOpen, hiOpen bool
}

// mustInterval reads a range tag with bounds in the field's own notation.
func (f field) mustInterval(s string) *interval {
	lo, hi, ok := strings.Cut(s[1:len(s)-1], ",")
	if !ok {
		panic(fmt.Sprintf("config: %s: range tag %q has no comma", f.key, s))
	}
	return &interval{
		lo: f.bound(lo, math.Inf(-1)), hi: f.bound(hi, math.Inf(1)),
		loText: lo, hiText: hi, loOpen: s[0] == '(', hiOpen: s[len(s)-1] == ')',
	}
}

func (f field) bound(s string, unbounded float64) float64 {
	if s == "" {
		return unbounded
	}
	v := reflect.New(f.scalar()).Elem()
	if problem := (field{unit: f.unit}).scan(v, s); problem != "" {
		panic(fmt.Sprintf("config: %s: range tag: %s", f.key, problem))
	}
	return number(v)
}

// number is a numeric value as a float64.
func number(v reflect.Value) float64 {
	switch {
	case v.CanInt():
		return float64(v.Int())
	case v.CanUint():
		return float64(v.Uint())
	}
	return v.Float()
}

// holds is false for NaN.
func (r *interval) holds(x float64) bool {
	above := x > r.lo || x == r.lo && !r.loOpen
	below := x < r.hi || x == r.hi && !r.hiOpen
	return above && below
}

// String says the interval in words: "at least 1", "more than 0 and at most 1".
func (r *interval) String() string {
	if r.loText == r.hiText {
		return r.loText
	}
	if r.loText != "" && r.hiText != "" && !r.loOpen && !r.hiOpen {
		return r.loText + " to " + r.hiText
	}
	var parts []string
	if r.loText != "" {
		parts = append(parts, choose(r.loOpen, "more than ", "at least ")+r.loText)
	}
	if r.hiText != "" {
		parts = append(parts, choose(r.hiOpen, "less than ", "at most ")+r.hiText)
	}
	return strings.Join(parts, " and ")
}

func choose(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

// formatDuration is Duration.String without zero parts: 10s, 2m, 1h30m.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
