package ingest

import (
	"encoding/binary"
	"hash/fnv"
	"strings"
)

// GroupBy says which samples come from one source, in the sense of what lies in front of the lens: frames of a video,
// uploads of a customer, shots of a camera.
type GroupBy string

// Values of GroupBy.
const (
	ByKeyPrefix GroupBy = "key_prefix" // the key up to its last slash, or all of a key without one
	ByKey       GroupBy = "key"        // the key
	ByPartition GroupBy = "partition"  // source and partition: of a topic, or a file of a bounded source
)

// Of returns a hash that samples of one source share and others, most likely, do not. A sample without a key is its own
// source where keys tell; "" is ByKeyPrefix.
func (g GroupBy) Of(id ID, key string) uint64 {
	if g == ByPartition {
		return hashOf(id.Source, uint64(uint32(id.Partition)))
	}
	if key == "" {
		return hashOf(id.Source, uint64(uint32(id.Partition)), uint64(id.Offset), uint64(uint32(id.Item)))
	}
	if i := strings.LastIndexByte(key, '/'); g != ByKey && i >= 0 {
		key = key[:i]
	}
	return hashOf(key)
}

// hashOf is FNV-1a, 64 bits, over a text and numbers.
func hashOf(text string, numbers ...uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	for _, n := range numbers {
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, n))
	}
	return h.Sum64()
}
