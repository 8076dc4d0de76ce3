package kafka

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
)

const (
	maxKey     = 4 << 10 // bytes of a sample's key; a longer one is replaced by its hash
	maxProblem = 1 << 10 // bytes of a problem's text
)

// describe sets Key, Label and Time of row as the message and its headers have them.
func (d *decoder) describe(row ingest.Row, r *record) ingest.Row {
	row.Key = printable(r.Key)
	if key, ok := r.header(d.KeyHeader); ok {
		row.Key = printable(key)
	}
	if !r.Time.IsZero() {
		row.Time = timestamp(r.Time)
	}
	if text, ok := r.header(d.TimeHeader); ok {
		if t := d.time(string(text)); t != nil {
			row.Time = t
		}
	}
	if text, ok := r.header(d.LabelHeader); ok {
		row.Label = d.label(string(text))
	}
	return row
}

// label reads a class, nil for none. Labels only serve evaluation, so that one which cannot be read costs no image.
func (d *decoder) label(text string) *int32 {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		d.warnLabel.Do(func() {
			d.Warn(fmt.Sprintf("kafka: label %q is no class number; such samples count as without label", clip(text)))
		})
		return nil
	}
	label := int32(n)
	return &label
}

// time reads RFC 3339 or milliseconds since 1970, nil where it is neither.
func (d *decoder) time(text string) *arrow.Timestamp {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return timestamp(time.UnixMilli(ms))
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		d.warnTime.Do(func() {
			d.Warn(fmt.Sprintf("kafka: time %q is neither RFC 3339 nor milliseconds since 1970; the record's own is taken", clip(text)))
		})
		return nil
	}
	return timestamp(t)
}

func timestamp(t time.Time) *arrow.Timestamp {
	us := arrow.Timestamp(t.UnixMicro())
	return &us
}

// printable makes a key of bytes that may be anything: UTF-8 as it is, else in hex; by its hash if it is too long.
func printable(key []byte) string {
	switch {
	case len(key) > maxKey:
		sum := sha256.Sum256(key)
		return "sha256:" + hex.EncodeToString(sum[:])
	case utf8.Valid(key):
		return string(key)
	}
	return "0x" + hex.EncodeToString(key)
}

// clip shortens text that a stranger may have written, for a message.
func clip(text string) string {
	if len(text) > maxProblem {
		text = text[:maxProblem] + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
