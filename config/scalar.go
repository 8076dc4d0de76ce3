package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// scan sets v, a single number, word or switch of the key, from its text; it returns what is wrong, "" if nothing.
// Ranges and allowed words are checked later, on the whole tree.
func (f field) scan(v reflect.Value, text string) (problem string) {
	switch t := v.Type(); {
	case t == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Sprintf("%q is not a duration; write a number with a unit, as 10s, 5m or 1h30m", text)
		}
		v.SetInt(int64(d))
	case t.Kind() == reflect.Int64 && f.unit == "bytes":
		n, err := parseSize(text)
		if err != nil {
			return err.Error()
		}
		v.SetInt(n)
	case t.Kind() == reflect.String:
		if !utf8.ValidString(text) {
			return "is not UTF-8, which YAML cannot hold; rename the file or re-encode the text"
		}
		v.SetString(text)
	case t.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Sprintf("%q is not a switch; write true or false", text)
		}
		v.SetBool(text == "true")
	case t.Kind() == reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
			return fmt.Sprintf("%q is not a finite number; write it as 0.1 or 1e-4", text)
		}
		v.SetFloat(x)
	default:
		return f.scanInt(v, text)
	}
	return ""
}

func (f field) scanInt(v reflect.Value, text string) (problem string) {
	if f.auto && text == "auto" {
		v.SetInt(0)
		return ""
	}
	orAuto := choose(f.auto, " or auto", "")
	if v.CanUint() {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Sprintf("%q is not a whole number from 0; write digits only", text)
		}
		v.SetUint(n)
		return ""
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v.OverflowInt(n) {
		return fmt.Sprintf("%q is not a whole number; write digits only%s", text, orAuto)
	}
	if f.auto && n == 0 { // 0 stands for auto in the tree
		return fmt.Sprintf("0 is out of range; use %s%s", f.limits, orAuto)
	}
	v.SetInt(n)
	return ""
}

// plain is what YAML reads as itself, in block and in flow style.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./][A-Za-z0-9_./+=@%-]*(:[A-Za-z0-9_./+=@%-]+)*$`)

// formatScalar renders v as scan reads it and as YAML holds it.
func (f field) formatScalar(v reflect.Value) string {
	switch t := v.Type(); {
	case f.auto && v.IsZero():
		return "auto"
	case t == durationType:
		return formatDuration(time.Duration(v.Int()))
	case t.Kind() == reflect.Int64 && f.unit == "bytes":
		return formatSize(v.Int())
	case t.Kind() == reflect.String:
		return quote(v.String())
	case t.Kind() == reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	default:
		return fmt.Sprint(v.Interface())
	}
}

// format renders the whole key in one line of YAML; keep chooses the fields of records.
func (f field) format(v reflect.Value, keep func(field) bool) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return "null"
	case v.Kind() == reflect.Pointer:
		return f.format(v.Elem(), keep)
	case v.Kind() == reflect.Array || v.Kind() == reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = f.format(v.Index(i), keep)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case v.Kind() == reflect.Struct:
		var parts []string
		for _, sub := range fieldsOf(v.Type(), f.key) {
			if keep(sub) {
				parts = append(parts, sub.name+": "+sub.format(v.FieldByIndex(sub.index), keep))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return f.formatScalar(v)
}

// quote renders s as a YAML scalar that reads back as s.
func quote(s string) string {
	lower := strings.ToLower(s)
	switch {
	case plain.MatchString(s) && lower != "null" && !strings.HasPrefix(s, "..."):
		return s
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return strconv.Quote(s)
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
