package kafka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"mocostream/internal/objects"
)

// Limits of a JSON message, so that a small one cannot become a large tree.
const (
	maxDepth  = 32
	maxValues = 1 << 20
)

// jsonImage is one image of a JSON message: its bytes, or where an object lies.
type jsonImage struct {
	Key     string          `json:"key"` // the sample's, or with bucket the object's
	Label   json.RawMessage `json:"label"`
	Time    json.RawMessage `json:"time"`
	Image   []byte          `json:"image"` // base64
	Bucket  string          `json:"bucket"`
	URL     string          `json:"url"` // s3://bucket/key
	ETag    string          `json:"etag"`
	Version string          `json:"version"`
	Size    *int64          `json:"size"`
}

// parseJSON reads an image, a list of images, or an object with such a list in Field.
func (d *decoder) parseJSON(value []byte) ([]item, error) {
	if err := checkJSON(value); err != nil {
		return nil, err
	}
	list := json.RawMessage(value)
	if field, err := d.listField(value); err != nil {
		return nil, err
	} else if field != nil {
		list = field
	} else if !startsWith(value, '[') {
		return []item{d.jsonItem(value)}, nil
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(list, &elements); err != nil {
		return nil, readJSON(err)
	}
	if len(elements) > d.MaxItems {
		return nil, fmt.Errorf("%d images in a message, more than %d", len(elements), d.MaxItems)
	}
	items := make([]item, len(elements))
	for i, e := range elements {
		items[i] = d.jsonItem(e)
	}
	return items, nil
}

// listField returns Field of an object, nil if it has none.
func (d *decoder) listField(value []byte) (json.RawMessage, error) {
	if startsWith(value, '[') || !bytes.Contains(value, []byte(`"`+d.Field+`"`)) {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(value, &fields); err != nil {
		return nil, readJSON(err)
	}
	return fields[d.Field], nil
}

func (d *decoder) jsonItem(element []byte) item {
	var e jsonImage
	if err := json.Unmarshal(element, &e); err != nil {
		return item{problem: clip(readJSON(err).Error())}
	}
	it := item{key: e.Key}
	if text := scalar(e.Label); text != "" {
		it.label = d.label(text)
	}
	if text := scalar(e.Time); text != "" {
		it.time = d.time(text)
	}
	object, err := e.object()
	switch {
	case err != nil:
		it.problem = clip(err.Error())
	case object != nil && len(e.Image) > 0:
		it.problem = "the message has both an image and an object that it points at"
	case object != nil:
		it.object, it.key = object, object.URL()
	case len(e.Image) == 0:
		it.problem = `the message has no image; expected "image" in base64, "url", or "bucket" and "key"`
	default:
		it.image = e.Image
	}
	return it
}

// object returns the object that e points at, nil if it has none.
func (e *jsonImage) object() (*ObjectRef, error) {
	ref := ObjectRef{Bucket: e.Bucket, Key: e.Key, Version: e.Version, ETag: strings.Trim(e.ETag, `"`), Size: -1}
	if e.Size != nil && *e.Size >= 0 {
		ref.Size = *e.Size
	}
	switch {
	case e.URL == "" && e.Bucket == "":
		return nil, nil
	case e.URL != "" && e.Bucket != "":
		return nil, errors.New("the message has both a url and a bucket")
	case e.URL != "":
		path, ok := strings.CutPrefix(e.URL, "s3://")
		if !ok {
			return nil, fmt.Errorf("url %q does not begin with s3://", e.URL)
		}
		ref.Bucket, ref.Key, _ = strings.Cut(path, "/")
	}
	if ref.Bucket == "" || ref.Key == "" {
		return nil, fmt.Errorf("%q is no object: it lacks a bucket or a key", objects.URL(ref.Bucket, ref.Key))
	}
	return &ref, nil
}

// scalar returns a string without its quotes, or a number as it is written; "" for null and all else.
func scalar(raw json.RawMessage) string {
	var text string
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || string(raw) == "null":
		return ""
	case raw[0] == '"' && json.Unmarshal(raw, &text) == nil:
		return text
	}
	return string(raw)
}

func readJSON(err error) error { return fmt.Errorf("read JSON message: %w", err) }

// startsWith says whether c is the first character that is not white space.
func startsWith(value []byte, c byte) bool {
	value = bytes.TrimLeft(value, " \t\r\n")
	return len(value) > 0 && value[0] == c
}

// checkJSON refuses what is nested too deeply or has too many values, before anything is made of it. Whether it is JSON at
// all is for the parser to say.
func checkJSON(value []byte) error {
	depth, values, text := 0, 0, false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			depth++
			values++
		case c == '}' || c == ']':
			depth--
		case c == ',':
			values++
		}
		if depth > maxDepth || values > maxValues {
			return fmt.Errorf("read JSON message: nested deeper than %d or more than %d values", maxDepth, maxValues)
		}
	}
	return nil
}
