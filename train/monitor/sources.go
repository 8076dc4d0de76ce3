package monitor

import (
	"encoding/binary"
	"hash/fnv"

	"mocostream/augment"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// sources names the source of each image of a batch: block consecutive ones of a partition are one. Blocks longer than the
// bursts that come in keep a burst in one or two of them.
func sources(b *augment.Batch, block int64) []uint64 {
	stream := b.Record.Column(augment.ColSource).(*array.String)
	partition := b.Record.Column(augment.ColPartition).(*array.Int32)
	offset := b.Record.Column(augment.ColOffset).(*array.Int64)
	all := make([]uint64, b.Len())
	for i := range all {
		h := fnv.New64a()
		text := append([]byte(stream.Value(i)), 0)
		text = binary.LittleEndian.AppendUint32(text, uint32(partition.Value(i)))
		text = binary.LittleEndian.AppendUint64(text, uint64(offset.Value(i)/block))
		_, _ = h.Write(text) // never fails
		all[i] = h.Sum64()
	}
	return all
}
