package loader

import (
	"fmt"
	"math/bits"
	"math/rand/v2"

	"mocostream/ingest"
)

// slot is where a sample lies in a bounded source.
type slot struct {
	partition int32
	offset    int64
}

// sequence is the order in which the samples of one block are read.
type sequence interface {
	next() (s slot, ok bool)
	skip(n int64) // at most what is left
}

// plan is the order of a bounded source as blocks that do not depend on each other: a pure function of (seed, epoch,
// manifest). An epoch of single files is one block.
type plan struct {
	manifest *ingest.Manifest
	seed     uint64
	shuffle  bool
	window   int64 // shards a block
	buffer   int   // samples of the shuffle buffer; 1 passes them through
	ordered  bool  // shards in the manifest's order
	single   bool  // every partition is one sample

	epoch  int64 // of shards
	shards *permutation
}

func newPlan(m *ingest.Manifest, o Options) (*plan, error) {
	p := &plan{manifest: m, seed: o.Seed, shuffle: o.Shuffle, window: 1, buffer: 1, ordered: true}
	var err error
	if p.single, err = single(m); err != nil {
		return nil, err
	}
	if o.Shuffle && !p.single {
		p.window, p.buffer = max(1, int64(o.ShuffleWindow)), max(1, o.ShuffleBuffer)
		p.ordered = o.ShuffleWindow == 0
	}
	return p, nil
}

// single says whether every partition holds one sample.
func single(m *ingest.Manifest) (bool, error) {
	if m.Samples() != int64(m.Len()) {
		return false, nil
	}
	for p, err := range m.All() {
		if err != nil || p.Count != 1 {
			return false, err
		}
	}
	return true, nil
}

// blocks returns the number of blocks of an epoch; some may be empty.
func (p *plan) blocks() int64 {
	if p.single {
		return 1
	}
	return (int64(p.manifest.Len()) + p.window - 1) / p.window
}

// shard returns the i-th shard of an epoch's order.
func (p *plan) shard(epoch, i int64) int32 {
	if p.ordered {
		return int32(i)
	}
	if p.shards == nil || p.epoch != epoch {
		p.epoch, p.shards = epoch, newPermutation(int64(p.manifest.Len()), draws("shards", p.seed, epoch))
	}
	return int32(p.shards.at(i))
}

// open returns block j of an epoch, and its number of samples.
func (p *plan) open(epoch, j int64) (sequence, int64, error) {
	if p.single {
		n := int64(p.manifest.Len())
		files := &files{n: n}
		if p.shuffle {
			files.order = newPermutation(n, draws("files", p.seed, epoch))
		}
		return files, n, nil
	}
	m := &merge{draws: draws("merge", p.seed, epoch, j)}
	for i := j * p.window; i < min((j+1)*p.window, int64(p.manifest.Len())); i++ {
		shard := p.shard(epoch, i)
		entry, err := p.manifest.Partition(shard)
		if err != nil {
			return nil, 0, err
		}
		m.add(shard, entry.Count)
	}
	return m, m.seal(), nil
}

// mix puts the shuffle buffer behind block j.
func (p *plan) mix(epoch, j int64, seq sequence) *mixer {
	return &mixer{seq: seq, size: p.buffer, draws: draws("buffer", p.seed, epoch, j)}
}

// seek returns the block in which sample index of an epoch lies, and how many of the block's come before it.
func (p *plan) seek(epoch, index int64) (block, before int64, err error) {
	if p.single {
		return 0, index, nil
	}
	for ; block < p.blocks(); block++ {
		_, n, err := p.open(epoch, block)
		if err != nil {
			return 0, 0, err
		}
		if index < n {
			return block, index, nil
		}
		index -= n
	}
	return 0, 0, fmt.Errorf("find sample in the order: it is %d behind the end of epoch %d", index, epoch)
}

// files is the block of single files.
type files struct {
	order *permutation // nil is the manifest's order
	i, n  int64
}

func (f *files) next() (slot, bool) {
	if f.i == f.n {
		return slot{}, false
	}
	i := f.i
	f.i++
	if f.order != nil {
		i = f.order.at(i)
	}
	return slot{partition: int32(i)}, true
}

func (f *files) skip(n int64) { f.i += n }

// merge is a uniformly random interleaving of shards, each in its own order: the next sample comes from a shard with
// the probability of its share of what is left.
type merge struct {
	shards []int32
	offset []int64 // next of each shard
	tree   []int64 // Fenwick tree (1-based) over what is left of each
	left   int64
	draws  *rand.ChaCha8
}

func (m *merge) add(shard int32, count int64) {
	if count == 0 {
		return
	}
	m.shards = append(m.shards, shard)
	m.offset = append(m.offset, 0)
	m.tree = append(m.tree, count)
	m.left += count
}

// seal ends the adding and returns the number of samples.
func (m *merge) seal() int64 {
	m.tree = append([]int64{0}, m.tree...)
	for i := 1; i < len(m.tree); i++ {
		if parent := i + i&-i; parent < len(m.tree) {
			m.tree[parent] += m.tree[i]
		}
	}
	return m.left
}

func (m *merge) next() (slot, bool) {
	if m.left == 0 {
		return slot{}, false
	}
	i := 0
	if len(m.shards) > 1 {
		i = m.take(below(m.draws, m.left))
	}
	s := slot{m.shards[i], m.offset[i]}
	m.offset[i]++
	m.left--
	return s, true
}

// take finds the shard of the r-th sample left, counted shard by shard, and takes one from it.
func (m *merge) take(r int64) int {
	i := 0
	for step := 1 << (bits.Len(uint(len(m.shards))) - 1); step > 0; step /= 2 {
		if i+step < len(m.tree) && m.tree[i+step] <= r {
			i += step
			r -= m.tree[i]
		}
	}
	for k := i + 1; k < len(m.tree); k += k & -k {
		m.tree[k]--
	}
	return i
}

func (m *merge) skip(n int64) {
	if len(m.shards) == 1 {
		m.offset[0] += n
		m.left -= n
		return
	}
	for range n {
		m.next()
	}
}

// numbered is a sample and its place in the order of reading.
type numbered struct {
	slot
	read int64 // from 0 at the block's start
}

// mixer is a shuffle buffer on indices: filled first, it then hands out a random one and takes the next in its place. It
// is empty at the end of its block.
type mixer struct {
	seq   sequence
	size  int
	draws *rand.ChaCha8
	held  []numbered
	reads int64 // taken from seq
}

func (m *mixer) next() (numbered, bool) {
	if m.size == 1 {
		return m.read()
	}
	for len(m.held) < m.size {
		n, ok := m.read()
		if !ok {
			break
		}
		m.held = append(m.held, n)
	}
	if len(m.held) == 0 {
		return numbered{}, false
	}
	last := len(m.held) - 1
	i := below(m.draws, int64(len(m.held)))
	out := m.held[i]
	m.held[i] = m.held[last]
	m.held = m.held[:last]
	return out, true
}

func (m *mixer) read() (numbered, bool) {
	s, ok := m.seq.next()
	if !ok {
		return numbered{}, false
	}
	m.reads++
	return numbered{s, m.reads - 1}, true
}

func (m *mixer) skip(n int64) {
	if m.size == 1 {
		m.seq.skip(n)
		m.reads += n
		return
	}
	for range n {
		m.next()
	}
}
