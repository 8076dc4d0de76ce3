package ingest_test

import (
	"testing"

	"mocostream/ingest"
)

func TestGroups(t *testing.T) {
	at := func(partition int32, offset int64, key string) func(ingest.GroupBy) uint64 {
		return func(g ingest.GroupBy) uint64 {
			return g.Of(ingest.ID{Source: "topic", Partition: partition, Offset: offset}, key)
		}
	}
	for name, c := range map[string]struct {
		a, b func(ingest.GroupBy) uint64
		same map[ingest.GroupBy]bool
	}{
		"frames of a clip": {at(0, 1, "clip7/001"), at(0, 2, "clip7/002"), map[ingest.GroupBy]bool{"": true, ingest.ByKeyPrefix: true, ingest.ByPartition: true}},
		"clips":            {at(0, 1, "clip7/001"), at(1, 1, "clip8/001"), nil},
		"a camera":         {at(0, 1, "cam1"), at(1, 9, "cam1"), map[ingest.GroupBy]bool{"": true, ingest.ByKeyPrefix: true, ingest.ByKey: true}},
		"no keys":          {at(0, 1, ""), at(0, 2, ""), map[ingest.GroupBy]bool{ingest.ByPartition: true}},
	} {
		for _, by := range []ingest.GroupBy{"", ingest.ByKeyPrefix, ingest.ByKey, ingest.ByPartition} {
			if same := c.a(by) == c.b(by); same != c.same[by] {
				t.Errorf("%s by %q: one source %v, want %v", name, by, same, c.same[by])
			}
		}
	}
}
