package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"sync"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
)

// Schema says what the value of a message is.
type Schema string

// The schemas.
const (
	SchemaAuto    Schema = "auto"     // by the header content-type, else by the first bytes; what is not known is an image
	SchemaImage   Schema = "image"    // an encoded image
	SchemaArrow   Schema = "arrow"    // an Arrow IPC stream or file with a column of images
	SchemaJSON    Schema = "json"     // images in base64 or where objects lie, one or a list
	SchemaS3Event Schema = "s3_event" // a bucket's notification, also wrapped by SNS or SQS
)

// Defaults of DecoderOptions.
const (
	DefaultMaxImage   = 32 << 20
	DefaultMaxMessage = 256 << 20
	DefaultMaxItems   = 1 << 16
	DefaultFetchers   = 16
)

// DecoderOptions say how messages become samples. Zero values take the defaults.
type DecoderOptions struct {
	Schema Schema // "" is auto
	// Field is the field of a JSON message that holds a list of images; "" is "images". A list may also be the message.
	Field string
	// Objects fetches what messages point at; nil allows none.
	Objects Objects
	// Fetchers is how many objects one call fetches at the same time.
	Fetchers int
	// MaxImage is the largest image in bytes that is read whole; of a larger one come MaxImage+1 bytes.
	MaxImage int64
	// MaxMessage bounds the bytes that one message unfolds to; what is beyond becomes bad images.
	MaxMessage int64
	// MaxItems is the largest number of images in a message; one of more is a bad image as a whole.
	MaxItems int
	// Names of headers: a sample's key (instead of the message's), its label (a number) and its time (RFC 3339, or
	// milliseconds since 1970); "" are "key", "label" and "time".
	KeyHeader, LabelHeader, TimeHeader string
	// Deletions has a message without a value become a sample with the problem ingest.Deleted; else it is passed over.
	Deletions bool
	// Warn is told once of labels and times that cannot be read; nil is nobody. It may be called concurrently.
	Warn func(text string)
}

// withDefaults fills what is zero.
func (o DecoderOptions) withDefaults() DecoderOptions {
	o.Schema = cmp.Or(o.Schema, SchemaAuto)
	o.Field = cmp.Or(o.Field, "images")
	o.Fetchers = cmp.Or(o.Fetchers, DefaultFetchers)
	o.MaxImage = cmp.Or(o.MaxImage, DefaultMaxImage)
	o.MaxMessage = cmp.Or(o.MaxMessage, DefaultMaxMessage)
	o.MaxItems = cmp.Or(o.MaxItems, DefaultMaxItems)
	o.KeyHeader = cmp.Or(o.KeyHeader, "key")
	o.LabelHeader = cmp.Or(o.LabelHeader, "label")
	o.TimeHeader = cmp.Or(o.TimeHeader, "time")
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	return o
}

func (o DecoderOptions) validate() error {
	known := []Schema{SchemaAuto, SchemaImage, SchemaArrow, SchemaJSON, SchemaS3Event}
	switch {
	case !slices.Contains(known, o.Schema):
		return fmt.Errorf("ingest.kafka.schema is %q; expected one of %v", o.Schema, known)
	case o.MaxImage < 1 || o.MaxImage > 1<<30:
		return fmt.Errorf("largest image of %d bytes is not in 1..%d", o.MaxImage, 1<<30)
	case o.MaxMessage < o.MaxImage || o.MaxMessage > 1<<30:
		return fmt.Errorf("largest message of %d bytes is not in %d (the largest image)..%d", o.MaxMessage, o.MaxImage, 1<<30)
	case o.MaxItems < 1 || o.Fetchers < 1:
		return errors.New("images in a message and fetchers have to be positive")
	}
	return nil
}

// decoder is the Decoder of all schemas.
type decoder struct {
	DecoderOptions
	warnLabel, warnTime sync.Once
}

var _ batchDecoder = (*decoder)(nil)

// NewDecoder makes a Decoder.
func NewDecoder(o DecoderOptions) (Decoder, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("decode messages: %w", err)
	}
	return &decoder{DecoderOptions: o}, nil
}

// item is one image of a message, or where it lies, or why there is none.
type item struct {
	image   []byte     // may be the message's own bytes
	object  *ObjectRef // to be fetched
	problem string
	key     string           // "" takes the message's
	label   *int32           // nil takes the message's
	time    *arrow.Timestamp // nil takes the message's
}

// Append implements Decoder.
func (d *decoder) Append(ctx context.Context, b *ingest.Builder, row ingest.Row, r *record) (int32, error) {
	images, err := d.AppendBatch(ctx, b, []ingest.Row{row}, []*record{r})
	if err != nil {
		return 0, err
	}
	return images[0], nil
}

// AppendBatch implements batchDecoder.
func (d *decoder) AppendBatch(ctx context.Context, b *ingest.Builder, rows []ingest.Row, records []*record) ([]int32, error) {
	messages := make([]message, len(records))
	for i, r := range records {
		messages[i].items = d.items(r)
	}
	taken, err := d.fetchAll(ctx, messages)
	if err != nil {
		return nil, err
	}
	grow(b, messages[:taken], d.MaxImage)
	images := make([]int32, taken)
	for i := range taken {
		d.append(b, d.describe(rows[i], records[i]), messages[i].items)
		images[i] = int32(len(messages[i].items))
	}
	return images, nil
}

// grow makes room once for images that are more than a chunk, as fetched ones may be: their memory is not copied as it grows.
func grow(b *ingest.Builder, messages []message, maxImage int64) {
	bytes := 0
	for i := range messages {
		for _, it := range messages[i].items {
			bytes += int(min(int64(len(it.image)), maxImage+1))
		}
	}
	if bytes > chunkBytes {
		b.Grow(b.Bytes() + bytes)
	}
}

// append adds the items of a message whose objects are fetched.
func (d *decoder) append(b *ingest.Builder, row ingest.Row, items []item) {
	row.Items = int32(len(items))
	for i := range items {
		it, one := &items[i], row
		one.Item, one.Problem = int32(i), it.problem
		if it.key != "" {
			one.Key = printable([]byte(it.key))
		}
		if it.label != nil {
			one.Label = it.label
		}
		if it.time != nil {
			one.Time = it.time
		}
		b.Append(one, it.image[:min(int64(len(it.image)), d.MaxImage+1)])
	}
}

// items unfolds a message. One that cannot be read is one item with a problem, and a tombstone none.
func (d *decoder) items(r *record) []item {
	if r.Value == nil && d.Deletions {
		return []item{{problem: ingest.Deleted}}
	}
	if r.Value == nil {
		return nil
	}
	if len(r.Value) == 0 {
		return []item{{problem: "the message is empty"}}
	}
	items, err := d.parse(r)
	if err == nil && len(items) > d.MaxItems {
		err = fmt.Errorf("%d images in a message, more than %d", len(items), d.MaxItems)
	}
	if err != nil {
		return []item{{problem: clip(err.Error())}}
	}
	return items
}

func (d *decoder) parse(r *record) ([]item, error) {
	schema := d.Schema
	auto := schema == SchemaAuto
	if auto {
		schema = guess(r)
	}
	switch schema {
	case SchemaArrow:
		return d.parseArrow(r.Value)
	case SchemaJSON:
		if auto && looksLikeEvent(r.Value) {
			return d.parseEvent(r.Value)
		}
		return d.parseJSON(r.Value)
	case SchemaS3Event:
		return d.parseEvent(r.Value)
	}
	return []item{{image: r.Value}}, nil
}

// guess says what a message is by its content-type, else by its first bytes.
func guess(r *record) Schema {
	for _, h := range r.Headers {
		if !strings.EqualFold(h.Key, "content-type") {
			continue
		}
		kind, _, err := mime.ParseMediaType(string(h.Value))
		switch {
		case err != nil:
		case strings.HasPrefix(kind, "image/"):
			return SchemaImage
		case strings.HasPrefix(kind, "application/vnd.apache.arrow."):
			return SchemaArrow
		case kind == "application/json" || strings.HasSuffix(kind, "+json"):
			return SchemaJSON
		}
	}
	text := strings.TrimLeft(string(r.Value[:min(len(r.Value), 64)]), " \t\r\n")
	switch {
	case strings.HasPrefix(text, "\xff\xff\xff\xff"), strings.HasPrefix(text, arrowMagic):
		return SchemaArrow
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		return SchemaJSON
	}
	return SchemaImage // JPEG, PNG, WebP; what is none of them becomes a bad image when it is decoded
}
