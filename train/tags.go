package train

import (
	"encoding/binary"
	"hash/fnv"

	"mocostream/augment"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// What a step knows of whose images it sees: a row of int64 an image.
const (
	tagSample    = iota // hash of the sample's ID; or noKey, nobodys
	tagSource           // hash of its source (augment.ColGroup); 0 where unknown
	tagDuplicate        // near-duplicate hash (augment.ColHash)
	tagTime             // when it came to be, microseconds since 1970; 0 where unknown
	tagColumns
)

// Values of tagSample that are no sample's.
const (
	noKey   = 0 // the row of the queue never held a key
	nobodys = 1 // it holds one, of a run that did not note whose
)

// tagsArgument is the tags of the batch's images.
const tagsArgument = "tags of the images"

// tagsOf are the tags of a batch's images, [B, tagColumns].
func tagsOf(b *augment.Batch) []int64 {
	group, hash := b.Record.Column(augment.ColGroup).(*array.Uint64), b.Record.Column(augment.ColHash).(*array.Uint64)
	time := b.Record.Column(augment.ColTime).(*array.Timestamp)
	samples := sampleHashes(b)
	tags := make([]int64, b.Len()*tagColumns)
	for i := range b.Len() {
		of := tags[i*tagColumns:][:tagColumns]
		of[tagSample], of[tagSource], of[tagDuplicate] = ownTag(samples[i]), ownTag(group.Value(i)), int64(hash.Value(i))
		if time.IsValid(i) {
			of[tagTime] = int64(time.Value(i))
		}
	}
	return tags
}

// ownTag keeps a hash clear of the tags with a meaning of their own.
func ownTag(hash uint64) int64 {
	if hash == noKey || hash == nobodys {
		return int64(hash + 2)
	}
	return int64(hash)
}

// sampleHashes are hashes of the IDs of a batch's samples: FNV-1a.
func sampleHashes(b *augment.Batch) []uint64 {
	source, partition := b.Record.Column(augment.ColSource).(*array.String), b.Record.Column(augment.ColPartition).(*array.Int32)
	offset, item := b.Record.Column(augment.ColOffset).(*array.Int64), b.Record.Column(augment.ColItem).(*array.Int32)
	hashes := make([]uint64, b.Len())
	for i := range hashes {
		h := fnv.New64a()
		var place [16]byte
		binary.LittleEndian.PutUint64(place[:], uint64(offset.Value(i)))
		binary.LittleEndian.PutUint32(place[8:], uint32(partition.Value(i)))
		binary.LittleEndian.PutUint32(place[12:], uint32(item.Value(i)))
		_, _ = h.Write(place[:]) // never fails
		_, _ = h.Write([]byte(source.Value(i)))
		hashes[i] = h.Sum64()
	}
	return hashes
}

// lag is how much older the samples of the queue's keys are than those of the batch, on average over those with a time: a
// scalar in seconds, 0 where either has none. Both are tags.
func lag(batch, queue *Node) *Node {
	newest := graph.ReduceAllMax(row(batch, tagTime))
	own, known := meanAge(batch, newest)
	theirs, others := meanAge(queue, newest)
	return graph.Where(graph.LogicalAnd(known, others), graph.Sub(theirs, own), graph.ZerosLike(own))
}

// meanAge is how much older than newest the samples of tags are, seconds, and whether any has a time.
func meanAge(tags, newest *Node) (mean, any *Node) {
	times := row(tags, tagTime)
	timed := graph.NotEqual(times, number(tags, 0))
	seconds := graph.MulScalar(graph.ConvertDType(graph.Sub(newest, times), dtypes.Float32), 1e-6)
	count := graph.ReduceAllSum(graph.ConvertDType(timed, dtypes.Float32))
	sum := graph.ReduceAllSum(graph.Where(timed, seconds, graph.ZerosLike(seconds)))
	return graph.Div(sum, graph.MaxScalar(count, 1)), graph.GreaterThan(count, graph.ZerosLike(count))
}
