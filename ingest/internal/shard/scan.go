package shard

import (
	"archive/tar"
	"fmt"
	"path"
	"strings"

	"mocostream/ingest"
)

// kind is what a member is to us.
type kind int

const (
	other kind = iota
	image
	label
)

// member is one file in a shard, its content not read yet.
type member struct {
	kind   kind
	key    string
	sample int64 // index in the shard of the sample that it belongs to, should that have an image
	group  int64 // counts the keys, with an image or without
	size   int64 // bytes
}

// scanner walks through a tar and groups its members into samples. It keeps one name, however many members there are.
type scanner struct {
	tar     *tar.Reader
	key     string
	group   int64 // of key
	samples int64 // with an image, before the current group
	image   bool  // the current group has its image
}

func newScanner(in *input) *scanner { return &scanner{tar: tar.NewReader(in.tar)} }

// next returns the next image or label, io.EOF after the last. Its content is then read from tar, or left.
func (s *scanner) next() (member, error) {
	for {
		header, err := s.tar.Next()
		if err != nil {
			return member{}, err
		}
		if len(header.Name) > ingest.MaxName {
			return member{}, fmt.Errorf("a member's name of %d bytes is too long", len(header.Name))
		}
		key, kind := classify(header)
		if key == "" {
			continue
		}
		if key != s.key {
			s.samples, s.image, s.key = s.count(), false, key
			s.group++
		}
		if kind == other || kind == image && s.image {
			continue
		}
		s.image = s.image || kind == image
		return member{kind: kind, key: key, sample: s.samples, group: s.group, size: header.Size}, nil
	}
}

// count returns the number of samples so far.
func (s *scanner) count() int64 {
	if s.image {
		return s.samples + 1
	}
	return s.samples
}

// classify returns the key, empty for what belongs to no sample, and the kind.
func classify(header *tar.Header) (string, kind) {
	if header.Typeflag != tar.TypeReg {
		return "", other
	}
	folder, base := path.Split(header.Name)
	stem, extension, found := strings.Cut(base, ".")
	if stem == "" || !found {
		return "", other
	}
	switch strings.ToLower(extension) {
	case "jpg", "jpeg", "png", "webp":
		return folder + stem, image
	case "cls":
		return folder + stem, label
	}
	return folder + stem, other
}
