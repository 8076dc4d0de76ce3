package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// maxWrapping is how many envelopes may lie around a notification: SNS in SQS in a Lambda's record makes three.
const maxWrapping = 4

// s3Event is a notification of AWS or MinIO, or an envelope around one. Fields are those of the JSON, in any case.
type s3Event struct {
	Event    string     // "s3:TestEvent"
	Records  []s3Record // of S3, or of SQS and SNS as a Lambda has them
	Type     string     // of SNS
	Message  string     // of SNS
	Body     string     // of SQS
	Messages []s3Record // of SQS
}

type s3Record struct {
	EventName string
	EventTime string
	S3        *struct {
		Bucket struct{ Name string }
		Object struct {
			Key       string // URL-encoded
			Size      *int64
			ETag      string
			VersionID string
		}
	}
	Body string // of SQS
	SNS  *struct{ Message string }
}

// errNoEvent says that JSON is something else.
var errNoEvent = errors.New("the message is no bucket notification")

// looksLikeEvent says whether a JSON message has the fields of a notification or its envelopes.
func looksLikeEvent(value []byte) bool {
	if checkJSON(value) != nil || !startsWith(value, '{') {
		return false
	}
	var e struct {
		Event, Type, Body  string
		Records, Messages  []json.RawMessage
		Image, URL, Bucket json.RawMessage
	}
	switch {
	case json.Unmarshal(value, &e) != nil:
		return false
	case e.Event == "s3:TestEvent": // has a bucket too
		return true
	case e.Image != nil, e.URL != nil, e.Bucket != nil:
		return false
	}
	return e.Records != nil || e.Messages != nil || e.Type == "Notification" || e.Body != ""
}

// parseEvent reads the objects that a notification says were created. Deletions and tests are no image.
func (d *decoder) parseEvent(value []byte) ([]item, error) {
	return d.unwrap(nil, value, 0)
}

func (d *decoder) unwrap(items []item, value []byte, depth int) ([]item, error) {
	if depth > maxWrapping {
		return nil, fmt.Errorf("read notification: more than %d envelopes", maxWrapping)
	}
	if err := checkJSON(value); err != nil {
		return nil, err
	}
	var e s3Event
	if err := json.Unmarshal(value, &e); err != nil {
		return nil, readJSON(err)
	}
	var err error
	switch {
	case e.Event == "s3:TestEvent":
		return items, nil
	case e.Message != "":
		return d.unwrap(items, []byte(e.Message), depth+1)
	case e.Body != "":
		return d.unwrap(items, []byte(e.Body), depth+1)
	case e.Records == nil && e.Messages == nil:
		return nil, errNoEvent
	}
	for _, r := range append(e.Records, e.Messages...) {
		if items, err = d.eventItems(items, r, depth); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// eventItems appends what one record of a notification says.
func (d *decoder) eventItems(items []item, r s3Record, depth int) ([]item, error) {
	switch {
	case len(items) > d.MaxItems:
		return nil, fmt.Errorf("read notification: more than %d objects", d.MaxItems)
	case r.Body != "":
		return d.unwrap(items, []byte(r.Body), depth+1)
	case r.SNS != nil:
		return d.unwrap(items, []byte(r.SNS.Message), depth+1)
	case r.S3 == nil:
		return nil, errNoEvent
	case !strings.HasPrefix(strings.TrimPrefix(r.EventName, "s3:"), "ObjectCreated:"):
		return items, nil
	}
	o := r.S3.Object
	key, err := url.QueryUnescape(o.Key)
	if err != nil {
		return append(items, item{problem: clip(fmt.Sprintf("read notification: key %q: %v", o.Key, err))}), nil
	}
	ref := jsonImage{Bucket: r.S3.Bucket.Name, Key: key, ETag: o.ETag, Version: o.VersionID, Size: o.Size}
	if strings.HasSuffix(key, "/") && o.Size != nil && *o.Size == 0 {
		return items, nil // what consoles make for a folder
	}
	object, err := ref.object()
	switch {
	case err != nil:
		return append(items, item{problem: clip("read notification: " + err.Error())}), nil
	case object == nil:
		return append(items, item{problem: clip(fmt.Sprintf("read notification: object %q has no bucket", key))}), nil
	}
	it := item{object: object, key: object.URL()}
	if r.EventTime != "" {
		it.time = d.time(r.EventTime)
	}
	return append(items, it), nil
}
