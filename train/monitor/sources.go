package monitor

import (
	"encoding/binary"
	"hash/fnv"

	"mocostream/augment"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// sources names the source of each image of a batch: what it comes from and, with a scene above 0, in which stretch of so
// many offsets of its partition. Images that a replay buffer gave before are none of what comes in: fresh is false of them.
func sources(b *augment.Batch, scene int64) (all []uint64, fresh []bool) {
	group := b.Record.Column(augment.ColGroup).(*array.Uint64)
	visit := b.Record.Column(augment.ColVisit).(*array.Int64)
	for i := range b.Len() {
		source := group.Value(i)
		if scene > 0 {
			source = stretch(b, i, source, scene)
		}
		all, fresh = append(all, source), append(fresh, visit.Value(i) == 0)
	}
	return all, fresh
}

// stretch hashes an image's source and the stretch of its partition that it is of.
func stretch(b *augment.Batch, row int, source uint64, scene int64) uint64 {
	partition := b.Record.Column(augment.ColPartition).(*array.Int32).Value(row)
	offset := b.Record.Column(augment.ColOffset).(*array.Int64).Value(row)
	text := binary.LittleEndian.AppendUint64(nil, source)
	text = binary.LittleEndian.AppendUint32(text, uint32(partition))
	text = binary.LittleEndian.AppendUint64(text, uint64(offset/scene))
	h := fnv.New64a()
	_, _ = h.Write(text) // never fails
	return h.Sum64()
}
