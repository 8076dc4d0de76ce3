package kafka

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Small messages that point at large objects come through a source whole and in order, tombstones between them.
func TestPointersThroughASource(t *testing.T) {
	const messages = 40 // of 1 MiB each: several calls of AppendBatch
	c := startCluster(t, kfake.SeedTopics(1, "events"))
	s := &store{objects: map[string]string{}, hold: make(chan struct{})}
	go func() { // nothing is fetched before two are asked for: alone each would be too quick to meet another
		defer close(s.hold)
		for end := time.Now().Add(patience); s.busy.Load() < 2 && time.Now().Before(end); {
			runtime.Gosched()
		}
	}()
	var records []*kgo.Record
	for i := range messages {
		s.objects[fmt.Sprintf("s3://b/%d", i)] = fmt.Sprintf("%d %s", i, strings.Repeat("x", 1<<20))
		records = append(records, &kgo.Record{Topic: "events", Value: fmt.Appendf(nil, `{"url":"s3://b/%d"}`, i)})
		if i%7 == 3 {
			records = append(records, &kgo.Record{Topic: "events"})
		}
	}
	client := producer(t, c)
	must(t, client.ProduceSync(t.Context(), records...).FirstErr())
	client.Close()
	decoder, err := NewDecoder(DecoderOptions{Objects: s, Fetchers: 4})
	must(t, err)
	o := options(c, "events")
	o.Decoder, o.Transport = decoder, nil
	session := openSession(t, newSource(t, o), ingest.Progress{})
	for i, got := range session.samples(messages) {
		if image, key := s.objects[fmt.Sprintf("s3://b/%d", i)], fmt.Sprintf("s3://b/%d", i); string(got.Image) != image || got.Key != key {
			t.Errorf("sample %d is %s of %d bytes", i, got.Key, len(got.Image))
		}
	}
	session.reaches(sourceName(t, c, "events"), 0, int64(len(records)))
	if most := s.most.Load(); most < 2 || most > 4 {
		t.Errorf("%d objects were fetched at a time", most)
	}
}
