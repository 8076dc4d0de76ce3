package s3

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"mocostream/ingest/internal/shard"
)

// scope is which objects of a bucket are meant.
type scope struct {
	prefix string // of the keys to list
	root   string // what names of partitions leave out of the key
	single string // the only key, "" without
	kind   string
}

func newScope(prefix, kind string) (scope, error) {
	s := scope{prefix: prefix, kind: kind}
	switch kind {
	case "":
		s.kind = KindAuto
	case KindAuto, KindImages, KindShards:
	default:
		return s, fmt.Errorf("unknown kind %q of objects; set ingest.s3.kind to auto, images or shards", kind)
	}
	folder := prefix == "" || strings.HasSuffix(prefix, "/")
	switch {
	case strings.HasSuffix(prefix, "*"):
		s.prefix = strings.TrimSuffix(prefix, "*")
	case !folder && (shard.Is(prefix) || isImage(prefix)):
		s.single = prefix
	case !folder:
		s.prefix += "/"
	}
	if strings.Contains(s.prefix, "*") {
		return s, errors.New("a star may only stand at the end of a prefix")
	}
	s.root = s.prefix[:strings.LastIndexByte(s.prefix, '/')+1]
	return s, nil
}

// wants says whether an object is to be read.
func (s scope) wants(key string) bool {
	if s.single != "" && key != s.single || strings.HasSuffix(key, "/") {
		return false
	}
	name := key[len(s.root):]
	if strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return false
	}
	return s.kind != KindShards && isImage(name) || s.kind != KindImages && shard.Is(name)
}

// describe names what is looked for.
func (s scope) describe() string {
	const images, shards = "image (.jpg, .jpeg, .png, .webp)", "shard (.tar, .tar.gz, .tgz, .parquet, .arrow, .arrows, .feather)"
	switch s.kind {
	case KindImages:
		return images
	case KindShards:
		return shards
	}
	return images + " or " + shards
}

func isImage(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".jpg", ".jpeg", ".png", ".webp":
		return true
	}
	return false
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func isEnd(err error) bool { return errors.Is(err, io.EOF) }

// versionMark separates ETag and version id in a manifest; neither can hold it.
const versionMark = "\x1f"

func joinVersion(etag, version string) string {
	if version == "" {
		return etag
	}
	return etag + versionMark + version
}

func splitVersion(joined string) (etag, version string) {
	etag, version, _ = strings.Cut(joined, versionMark)
	return etag, version
}
