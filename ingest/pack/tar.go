package pack

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode"
)

const tarBlock = 512

// tarFormat writes KEY.jpg and, where there is a label, KEY.cls.
type tarFormat struct {
	w    *tar.Writer
	keys map[string]bool // of the shard: extracted, or next to each other, equal ones would be one sample
}

func newTar(w io.Writer) *tarFormat { return &tarFormat{w: tar.NewWriter(w), keys: map[string]bool{}} }

func (t *tarFormat) cost(s sample) int64 {
	n := tarBlock + (int64(len(s.image))+tarBlock-1)/tarBlock*tarBlock
	if s.label != nil {
		n += 2 * tarBlock
	}
	return n
}

func (t *tarFormat) pending() int64 { return 2 * tarBlock } // the end marker

func (t *tarFormat) add(s sample) error {
	key := t.unique(memberKey(s.key))
	if err := t.file(key+"."+extension(s.image), s.image); err != nil {
		return err
	}
	if s.label == nil {
		return nil
	}
	return t.file(key+".cls", fmt.Appendf(nil, "%d", *s.label))
}

func (t *tarFormat) file(name string, content []byte) error {
	if err := t.w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := t.w.Write(content)
	return err
}

func (t *tarFormat) close() error { return t.w.Close() }

// unique returns the key, or one like it that the shard does not have yet.
func (t *tarFormat) unique(key string) string {
	as := key
	for n := 2; t.keys[as]; n++ {
		as = fmt.Sprintf("%s-%d", key, n)
	}
	t.keys[as] = true
	return as
}

// memberKey turns a key into a name that stays inside a folder and has no dot in its last part, since that is where
// readers cut it. The extension of an image is dropped.
func memberKey(key string) string {
	key = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\\' {
			return '_'
		}
		return r
	}, key)
	folder, base := path.Split(strings.TrimPrefix(path.Clean("/"+key), "/"))
	switch strings.ToLower(path.Ext(base)) {
	case ".jpg", ".jpeg", ".png", ".webp":
		base = base[:len(base)-len(path.Ext(base))]
	}
	base = strings.ReplaceAll(base, ".", "_")
	if base == "" {
		base = "_"
	}
	return folder + base
}

// extension is that of the image's format, as far as readers tell them apart.
func extension(image []byte) string {
	switch {
	case bytes.HasPrefix(image, []byte("\x89PNG\r\n\x1a\n")):
		return "png"
	case len(image) >= 12 && string(image[:4]) == "RIFF" && string(image[8:12]) == "WEBP":
		return "webp"
	}
	return "jpg"
}
