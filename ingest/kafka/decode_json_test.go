package kafka

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const (
	testEvent    = `{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"b","RequestId":"1"}`
	createdEvent = `{"EventName":"s3:ObjectCreated:Put","Key":"b/a b.jpg","Records":[{"eventVersion":"2.1","eventSource":"aws:s3",
		"eventTime":"2023-11-14T22:13:20.000Z","eventName":"ObjectCreated:Put","s3":{"s3SchemaVersion":"1.0","bucket":{"name":"b"},
		"object":{"key":"a%2Fb+c%C3%A4.jpg","size":3,"eTag":"abc","versionId":"v1","sequencer":"1"}}}]}`
)

func TestJSONMessages(t *testing.T) {
	s := &store{objects: map[string]string{"s3://b/k": "object"}}
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for value, want := range map[string][]sample{
		`{"key":"k","label":3,"time":1700000000123,"image":"AQID"}`:                      {{Key: "k", Image: "\x01\x02\x03", Label: 3, Time: 1700000000123000}},
		` {"key":"k","label":"3","time":"2023-11-14T22:13:20Z","image":"AQID","more":1}`: {{Key: "k", Image: "\x01\x02\x03", Label: 3, Time: 1700000000000000}},
		`{"label":null,"time":null,"image":"AQID"}`:                                      {{Key: "own", Image: "\x01\x02\x03", Label: -1}},
		`{"label":"cat","image":"AQID"}`:                                                 {{Key: "own", Image: "\x01\x02\x03", Label: -1}},
		`{"bucket":"b","key":"k","etag":"\"e\"","version":"v","size":6}`:                 {{Key: "s3://b/k", Image: "object", Label: -1}},
		`{"url":"s3://b/k","key":"mine"}`:                                                {{Key: "s3://b/k", Image: "object", Label: -1}},
		`[{"image":"AQID"},{"url":"s3://b/k"}]`:                                          {{Key: "own", Image: "\x01\x02\x03", Label: -1}, {Key: "s3://b/k", Image: "object", Label: -1}},
		`{"images":[{"image":"AQID","label":1},7]}`:                                      {{Key: "own", Image: "\x01\x02\x03", Label: 1}, {Key: "own", Problem: "read JSON", Label: -1}},
		`{"images":[]}`:                        nil,
		`[]`:                                   nil,
		`{"images":7}`:                         {{Key: "own", Problem: "read JSON", Label: -1}},
		`{}`:                                   {{Key: "own", Problem: "no image", Label: -1}},
		`{"image":""}`:                         {{Key: "own", Problem: "no image", Label: -1}},
		`{"image":"*"}`:                        {{Key: "own", Problem: "base64", Label: -1}},
		`{"image":"AQID","url":"s3://b/k"}`:    {{Key: "own", Problem: "both", Label: -1}},
		`{"url":"s3://b/k","bucket":"b"}`:      {{Key: "own", Problem: "both", Label: -1}},
		`{"url":"http://b/k"}`:                 {{Key: "own", Problem: "s3://", Label: -1}},
		`{"url":"s3://b"}`:                     {{Key: "own", Problem: "lacks", Label: -1}},
		`{"bucket":"b"}`:                       {{Key: "own", Problem: "lacks", Label: -1}},
		`{"image":"AQID"`:                      {{Key: "own", Problem: "read JSON", Label: -1}},
		`{"image":"AQID"} more`:                {{Key: "own", Problem: "read JSON", Label: -1}},
		deep:                                   {{Key: "own", Problem: "nested", Label: -1}},
		`[` + strings.Repeat("{},", 5) + `{}]`: {{Key: "own", Problem: "more than 5", Label: -1}},
	} {
		got := unfold(t, DecoderOptions{Schema: SchemaJSON, Objects: s, MaxItems: 5}, &record{Key: []byte("own"), Value: []byte(value)})
		t.Run(value[:min(len(value), 40)], func(t *testing.T) { equal(t, got, want) })
	}
	ref := s.refs
	found := false
	for _, r := range ref {
		found = found || r == ObjectRef{Bucket: "b", Key: "k", Version: "v", ETag: "e", Size: 6}
	}
	if !found {
		t.Errorf("fetched %v", ref)
	}
}

func TestManyValues(t *testing.T) {
	value := []byte("[" + strings.Repeat("0,", maxValues) + "0]")
	equal(t, unfold(t, DecoderOptions{}, &record{Value: value}), []sample{{Problem: "values", Label: -1}})
}

func TestBucketNotifications(t *testing.T) {
	s := &store{objects: map[string]string{"s3://b/a/b cä.jpg": "object"}}
	quote := func(text string) string {
		out, err := json.Marshal(text)
		must(t, err)
		return string(out)
	}
	one := []sample{{Key: "s3://b/a/b cä.jpg", Image: "object", Label: -1, Time: 1700000000000000}}
	sns := fmt.Sprintf(`{"Type":"Notification","MessageId":"1","Message":%s}`, quote(createdEvent))
	nested := createdEvent
	for range maxWrapping + 1 {
		nested = fmt.Sprintf(`{"Body":%s}`, quote(nested))
	}
	record1 := func(name, key string) string {
		return fmt.Sprintf(`{"Records":[{"eventName":%q,"s3":{"bucket":{"name":"b"},"object":{"key":%q,"size":0}}}]}`, name, key)
	}
	for name, c := range map[string]struct {
		value string
		want  []sample
	}{
		"created":    {createdEvent, one},
		"minio":      {strings.Replace(createdEvent, `"eventName":"ObjectCreated`, `"eventName":"s3:ObjectCreated`, 1), one},
		"test":       {testEvent, nil},
		"sns":        {sns, one},
		"sqs":        {fmt.Sprintf(`{"MessageId":"1","ReceiptHandle":"r","Body":%s}`, quote(createdEvent)), one},
		"sns in sqs": {fmt.Sprintf(`{"Messages":[{"Body":%s},{"Body":%s}]}`, quote(sns), quote(createdEvent)), append(one, one...)},
		"lambda":     {fmt.Sprintf(`{"Records":[{"eventSource":"aws:sqs","body":%s},{"Sns":{"Message":%s}}]}`, quote(sns), quote(createdEvent)), append(one, one...)},
		"removed":    {record1("ObjectRemoved:Delete", "k"), nil},
		"folder":     {record1("ObjectCreated:Put", "a/"), nil},
		"bad key":    {record1("ObjectCreated:Put", "a%zz"), []sample{{Problem: "escape", Label: -1}}},
		"no key":     {record1("ObjectCreated:Put", ""), []sample{{Problem: "lacks", Label: -1}}},
		"no bucket":  {strings.Replace(record1("ObjectCreated:Put", "k"), `"name":"b"`, `"x":1`, 1), []sample{{Problem: "no bucket", Label: -1}}},
		"nested":     {nested, []sample{{Problem: "envelopes", Label: -1}}},
		"other":      {`{"Records":[{"eventName":"x"}]}`, []sample{{Problem: "no bucket notification", Label: -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, schema := range []Schema{SchemaAuto, SchemaS3Event} {
				equal(t, unfold(t, DecoderOptions{Schema: schema, Objects: s}, &record{Value: []byte(c.value)}), c.want)
			}
		})
	}
	if got := s.refs[0]; got != (ObjectRef{Bucket: "b", Key: "a/b cä.jpg", Version: "v1", ETag: "abc", Size: 3}) {
		t.Errorf("fetched %+v", got)
	}
	equal(t, unfold(t, DecoderOptions{Schema: SchemaS3Event}, &record{Value: []byte("{}")}), []sample{{Problem: "no bucket notification", Label: -1}})
}
