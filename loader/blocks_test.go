package loader

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"mocostream/ingest"
)

// manifestOf makes a manifest of partitions with these numbers of samples.
func manifestOf(t testing.TB, counts ...int64) *ingest.Manifest {
	t.Helper()
	m, err := ingest.WriteManifest(t.TempDir(), func(yield func(ingest.Partition, error) bool) {
		for i, n := range counts {
			if !yield(ingest.Partition{Name: fmt.Sprintf("shard-%06d", i), Size: n * 1000, Count: n}, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func equalCounts(partitions int, n int64) []int64 {
	return slices.Repeat([]int64{n}, partitions)
}

// ordered returns the samples from a position to the end of the last epoch.
func ordered(t testing.TB, m *ingest.Manifest, o Options, at ingest.Position) []draw {
	t.Helper()
	p, err := newPlan(m, o)
	if err != nil {
		t.Fatal(err)
	}
	order, err := newOrder(p, o.Epochs, at)
	if err != nil {
		t.Fatal(err)
	}
	var all []draw
	for {
		d, err := order.next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
}

var orderCases = map[string]struct {
	counts []int64
	opts   Options
}{
	"files":                  {equalCounts(50, 1), Options{Shuffle: true}},
	"files in order":         {equalCounts(50, 1), Options{ShuffleWindow: 4, ShuffleBuffer: 8}},
	"one file":               {equalCounts(1, 1), Options{Shuffle: true}},
	"shards":                 {[]int64{7, 0, 3, 11, 5, 1, 20, 9, 2}, Options{Shuffle: true, ShuffleWindow: 3, ShuffleBuffer: 6}},
	"shards, merge alone":    {[]int64{7, 0, 3, 11, 5, 1, 20, 9, 2}, Options{Shuffle: true, ShuffleWindow: 4}},
	"shards, buffer alone":   {[]int64{7, 3, 11, 5}, Options{Shuffle: true, ShuffleBuffer: 5}},
	"shards, one by one":     {[]int64{7, 3, 11, 5}, Options{Shuffle: true, ShuffleWindow: 1}},
	"shards, in one block":   {[]int64{7, 3, 11, 5}, Options{Shuffle: true, ShuffleWindow: 99, ShuffleBuffer: 99}},
	"shards in order":        {[]int64{7, 0, 3, 11, 0}, Options{ShuffleWindow: 4, ShuffleBuffer: 8}},
	"as many as partitions":  {[]int64{0, 2, 1}, Options{Shuffle: true, ShuffleWindow: 2, ShuffleBuffer: 2}},
	"empty shards all round": {[]int64{0, 0, 4, 0, 0, 0, 3, 0, 0}, Options{Shuffle: true, ShuffleWindow: 2, ShuffleBuffer: 2}},
}

func TestOrderHasEachSampleOnceAnEpoch(t *testing.T) {
	for name, c := range orderCases {
		t.Run(name, func(t *testing.T) {
			m := manifestOf(t, c.counts...)
			c.opts.Seed, c.opts.Epochs = 3, 3
			all := ordered(t, m, c.opts, ingest.Position{})
			if int64(len(all)) != 3*m.Samples() {
				t.Fatalf("got %d samples in 3 epochs of %d", len(all), m.Samples())
			}
			for epoch := range int64(3) {
				seen := map[slot]bool{}
				for _, d := range all[epoch*m.Samples() : (epoch+1)*m.Samples()] {
					if d.epoch != epoch || seen[d.slot] || d.offset >= c.counts[d.partition] {
						t.Fatalf("epoch %d: draw %+v, seen before: %v", epoch, d, seen[d.slot])
					}
					seen[d.slot] = true
				}
			}
		})
	}
}

func TestOrderGoesOnAnywhere(t *testing.T) {
	for name, c := range orderCases {
		t.Run(name, func(t *testing.T) {
			m := manifestOf(t, c.counts...)
			c.opts.Seed, c.opts.Epochs = 3, 3
			all := ordered(t, m, c.opts, ingest.Position{})
			for i, d := range all[:len(all)-1] {
				rest := ordered(t, m, c.opts, d.after)
				if !slices.EqualFunc(rest, all[i+1:], func(a, b draw) bool {
					return a.slot == b.slot && a.epoch == b.epoch && a.after == b.after // read counts from the start
				}) {
					t.Fatalf("after %+v the order is another", d.after)
				}
			}
		})
	}
}

func TestShuffleOffIsSequential(t *testing.T) {
	for _, counts := range [][]int64{equalCounts(20, 1), {3, 0, 2, 5}} {
		for name, o := range map[string]Options{"off": {ShuffleWindow: 2, ShuffleBuffer: 3}, "zero": {}} {
			m := manifestOf(t, counts...)
			o.Epochs = 1
			checkSequential(t, name, ordered(t, m, o, ingest.Position{}))
		}
	}
	m := manifestOf(t, 3, 0, 2, 5)
	checkSequential(t, "no window, no buffer", ordered(t, m, Options{Shuffle: true, Epochs: 1}, ingest.Position{}))
}

func checkSequential(t *testing.T, name string, all []draw) {
	t.Helper()
	for i, d := range all[1:] {
		before := all[i].slot
		if d.partition < before.partition || d.partition == before.partition && d.offset != before.offset+1 {
			t.Fatalf("%s: %+v follows %+v", name, d.slot, before)
		}
	}
}

func TestOrderDiffersByEpochAndSeed(t *testing.T) {
	for name, c := range orderCases {
		if !c.opts.Shuffle || len(c.counts) == 1 {
			continue
		}
		m := manifestOf(t, c.counts...)
		slots := func(seed uint64) (first, second []slot) {
			c.opts.Seed, c.opts.Epochs = seed, 2
			for _, d := range ordered(t, m, c.opts, ingest.Position{}) {
				if d.epoch == 0 {
					first = append(first, d.slot)
				} else {
					second = append(second, d.slot)
				}
			}
			return first, second
		}
		a0, a1 := slots(1)
		b0, _ := slots(2)
		if len(a0) > 4 && (slices.Equal(a0, a1) || slices.Equal(a0, b0)) {
			t.Errorf("%s: two epochs or seeds have the same order", name)
		}
	}
}

// TestShardsAreReadThrough checks that reading, as opposed to training, takes the samples of a shard in their order.
func TestShardsAreReadThrough(t *testing.T) {
	m := manifestOf(t, 7, 0, 3, 11, 5, 1, 20, 9, 2)
	o := Options{Seed: 1, Shuffle: true, ShuffleWindow: 4, ShuffleBuffer: 10, Epochs: 1}
	all := ordered(t, m, o, ingest.Position{})
	for start := range m.Samples() {
		p, err := newPlan(m, o)
		if err != nil {
			t.Fatal(err)
		}
		order, err := newOrder(p, 1, ingest.Position{Index: start})
		if err != nil {
			t.Fatal(err)
		}
		got := readSlots(t, p, order)
		want := map[slot]bool{}
		for _, d := range all[start:] {
			want[d.slot] = true
		}
		last := map[int32]int64{}
		for _, s := range got {
			if before, ok := last[s.partition]; !want[s] || ok && s.offset <= before {
				t.Fatalf("from %d: %+v is read after offset %d, or read again", start, s, before)
			}
			last[s.partition] = s.offset
			delete(want, s)
		}
		if len(want) != 0 {
			t.Fatalf("from %d: not read: %v", start, want)
		}
	}
}

func readSlots(t *testing.T, p *plan, o *order) []slot {
	t.Helper()
	r, err := newReading(p, o)
	if err != nil {
		t.Fatal(err)
	}
	var all []slot
	for {
		for n, ok := r.block(); ok; n, ok = r.block() {
			all = append(all, n.slot)
		}
		if err := r.next(); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// mixing is how far an order is from the manifest's, next to a full shuffle.
type mixing struct {
	same  float64 // share of neighbours that come from one shard
	moved float64 // mean distance of a sample's place from its place in the manifest, in that of a full shuffle (N/3)
	near  float64 // share of a batch's pairs that lie within 1/1000 of the data of each other in the manifest; full: 0.002
}

func measure(t testing.TB, m *ingest.Manifest, perShard int64, o Options) mixing {
	o.Seed, o.Epochs = 5, 1
	all := ordered(t, m, o, ingest.Position{})
	rank := make([]int64, len(all))
	var x mixing
	for i, d := range all {
		rank[i] = int64(d.partition)*perShard + d.offset
		x.moved += math.Abs(float64(rank[i] - int64(i)))
		if i > 0 && d.partition == all[i-1].partition {
			x.same++
		}
	}
	n := float64(len(all))
	x.same /= n - 1
	x.moved /= n * n / 3
	const batch = 256
	pairs := 0.0
	for start := 0; start+batch <= len(rank); start += batch {
		for i := start; i < start+batch; i++ {
			for j := start; j < i; j++ {
				pairs++
				if math.Abs(float64(rank[i]-rank[j])) < n/1000 {
					x.near++
				}
			}
		}
	}
	x.near /= pairs
	return x
}

func TestMixing(t *testing.T) {
	const perShard = 500
	m := manifestOf(t, equalCounts(64, perShard)...)
	off := measure(t, m, perShard, Options{})
	merged := measure(t, m, perShard, Options{Shuffle: true, ShuffleWindow: 16})
	buffered := measure(t, m, perShard, Options{Shuffle: true, ShuffleWindow: 16, ShuffleBuffer: 2048})
	whole := measure(t, m, perShard, Options{Shuffle: true, ShuffleWindow: 64, ShuffleBuffer: 64 * perShard})
	if off.same < 0.99 || off.moved != 0 || off.near < 0.2 {
		t.Errorf("the measure does not know an order that is not mixed: %+v", off)
	}
	for name, x := range map[string]mixing{"merge": merged, "buffer": buffered} {
		if x.same < 1/16.*0.9 || x.same > 1/16.*1.1 {
			t.Errorf("%s: %.4f of neighbours are from one shard, want 1/16", name, x.same)
		}
	}
	if buffered.near > merged.near/3 || whole.near > 0.0022 || whole.moved < 0.95 || whole.moved > 1.05 || whole.same > 1.1/64 {
		t.Errorf("merged %+v, buffered %+v, whole %+v", merged, buffered, whole)
	}
}

// BenchmarkMixing prints how well shards are mixed; its time is that of simulating the order.
func BenchmarkMixing(b *testing.B) {
	const shards, perShard = 64, 1000
	m := manifestOf(b, equalCounts(shards, perShard)...)
	for _, o := range []Options{
		{},
		{Shuffle: true, ShuffleWindow: 1, ShuffleBuffer: 4096},
		{Shuffle: true, ShuffleWindow: 8, ShuffleBuffer: 0},
		{Shuffle: true, ShuffleWindow: 8, ShuffleBuffer: 4096},
		{Shuffle: true, ShuffleWindow: 16, ShuffleBuffer: 0},
		{Shuffle: true, ShuffleWindow: 16, ShuffleBuffer: 1024},
		{Shuffle: true, ShuffleWindow: 16, ShuffleBuffer: 4096},
		{Shuffle: true, ShuffleWindow: 32, ShuffleBuffer: 4096},
		{Shuffle: true, ShuffleWindow: shards, ShuffleBuffer: shards * perShard},
	} {
		b.Run(fmt.Sprintf("window=%d/buffer=%d", o.ShuffleWindow, o.ShuffleBuffer), func(b *testing.B) {
			x := measure(b, m, perShard, o)
			o.Epochs = 1
			for b.Loop() {
				ordered(b, m, o, ingest.Position{})
			}
			b.ReportMetric(x.same, "same-shard-neighbours")
			b.ReportMetric(x.moved, "moved-of-full")
			b.ReportMetric(x.near, "near-pairs-in-batch")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(shards*perShard), "ns/sample")
		})
	}
}
