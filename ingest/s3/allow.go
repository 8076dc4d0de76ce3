package s3

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"mocostream/internal/objects"
)

// ErrNotAllowed says that a message points at an object outside of the allow list. The object was not asked for.
var ErrNotAllowed = errors.New("object is not allowed; add its bucket or prefix to objects.allow if it may be read")

// rule is one entry of an allow list.
type rule struct {
	bucket string
	prefix string // "" is the whole bucket
	exact  string // this key itself, beside those below the prefix; "" is none
}

func parseRules(entries []string) ([]rule, error) {
	rules := make([]rule, 0, len(entries))
	for _, entry := range entries {
		bucket, prefix, _ := strings.Cut(strings.TrimPrefix(entry, "s3://"), "/")
		r := rule{bucket: bucket, prefix: prefix}
		switch {
		case strings.HasSuffix(prefix, "*"):
			r.prefix = strings.TrimSuffix(prefix, "*")
		case prefix != "" && !strings.HasSuffix(prefix, "/"):
			r.exact, r.prefix = prefix, prefix+"/"
		}
		if !isBucket(bucket) || strings.Contains(r.prefix, "*") || (r.prefix != "" && tricky(r.prefix)) {
			return nil, fmt.Errorf("objects.allow: %q is no bucket, bucket/folder or bucket/beginning*", entry)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// allowed returns nil or an error that wraps ErrNotAllowed.
func allowed(rules []rule, bucket, key string) error {
	refused := fmt.Errorf("%.300q: %w", objects.URL(bucket, key), ErrNotAllowed)
	if !isBucket(bucket) || key == "" || tricky(key) {
		return refused
	}
	for _, r := range rules {
		if r.bucket == bucket && (strings.HasPrefix(key, r.prefix) || key == r.exact) {
			return nil
		}
	}
	return refused
}

// isBucket says whether a name is one of a bucket, and not of something that a client would take for more.
func isBucket(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	for _, c := range name {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return !strings.Contains(name, "..")
}

// tricky says whether something between here and the store might read a key as a path, and find another object than the
// one whose name was compared: S3 itself takes names as they are, gateways to file systems and proxies do not.
func tricky(key string) bool {
	const decodings = 4
	for range decodings {
		if isPathTrick(key) {
			return true
		}
		plain, err := url.PathUnescape(key)
		if err != nil || plain == key {
			return false
		}
		key = plain
	}
	return true
}

func isPathTrick(key string) bool {
	if strings.ContainsFunc(key, func(c rune) bool { return c == '\\' || c == unicode.ReplacementChar || unicode.IsControl(c) }) {
		return true
	}
	parts := strings.Split(key, "/")
	for i, part := range parts {
		if part == "." || part == ".." || part == "" && i < len(parts)-1 {
			return true
		}
	}
	return false
}
