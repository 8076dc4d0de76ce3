package ingest

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// naive is Progress as a plain set.
type naive struct {
	done  map[ID]bool           // messages, Item 0
	items map[ID]map[int32]bool // items of messages not done
}

func (n *naive) contains(id ID) bool {
	whole := id
	whole.Item = 0
	return n.done[whole] || n.items[whole][id.Item]
}

func (n *naive) add(id ID) {
	id.Item = 0
	n.done[id] = true
	delete(n.items, id)
}

func (n *naive) addItem(id ID, items int32) {
	whole := id
	whole.Item = 0
	if n.done[whole] {
		return
	}
	if n.items[whole] == nil {
		n.items[whole] = map[int32]bool{}
	}
	n.items[whole][id.Item] = true
	if len(n.items[whole]) == int(items) {
		n.add(whole)
	}
}

const offsetsTested = 40

func itemsOf(offset int64) int32 { return int32(offset%4) + 1 }

func randomID(rng *rand.Rand) ID {
	id := ID{Source: string('a' + rune(rng.IntN(2))), Partition: rng.Int32N(3), Offset: rng.Int64N(offsetsTested)}
	id.Item = rng.Int32N(itemsOf(id.Offset))
	return id
}

func TestProgressAgainstSet(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var p Progress
		set := naive{map[ID]bool{}, map[ID]map[int32]bool{}}
		for range 300 {
			id := randomID(rng)
			switch rng.IntN(10) {
			case 0:
				p.Add(id)
				set.add(id)
			case 1:
				end := id.Offset + rng.Int64N(5)
				p.AddRange(id.Source, id.Partition, id.Offset, end)
				for o := id.Offset; o < end; o++ {
					set.add(ID{Source: id.Source, Partition: id.Partition, Offset: o})
				}
			default:
				p.AddItem(id, itemsOf(id.Offset))
				set.addItem(id, itemsOf(id.Offset))
			}
		}
		checkAgainstSet(t, &p, &set)
		checkJSON(t, &p)
	}
}

func checkAgainstSet(t *testing.T, p *Progress, set *naive) {
	t.Helper()
	for _, source := range []string{"a", "b", "c"} {
		for partition := range int32(4) {
			for offset := int64(-1); offset <= offsetsTested+5; offset++ {
				for item := range int32(5) {
					id := ID{source, partition, offset, item}
					if p.Contains(id) != set.contains(id) {
						t.Fatalf("Contains(%v) is %v", id, p.Contains(id))
					}
				}
			}
		}
	}
	if len(p.Pending) != len(set.items) {
		t.Fatalf("%d pending messages, want %d", len(p.Pending), len(set.items))
	}
	for _, partitions := range p.Streams {
		for _, s := range partitions {
			for i := 1; i < len(s); i++ {
				if s[i].Start <= s[i-1].End {
					t.Fatalf("intervals %v are not apart", s)
				}
			}
		}
	}
}

// checkJSON checks that p survives JSON, and that a Clone is equal and independent.
func checkJSON(t *testing.T, p *Progress) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Progress
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	clone := p.Clone()
	if !reflect.DeepEqual(*p, back) || !reflect.DeepEqual(*p, clone) {
		t.Fatalf("%+v\nis back as %+v\ncloned as %+v", *p, back, clone)
	}
	clone.AddRange("a", 0, -9, 99)
	clone.AddItem(ID{Source: "b", Offset: 77}, 3)
	for i := range clone.Pending {
		clone.Pending[i].Done.Add(0, 4)
	}
	if again, _ := json.Marshal(p); !bytes.Equal(again, text) {
		t.Fatal("changing the clone changed the original")
	}
}

// Whatever the order, the same samples make the same bytes.
func TestProgressJSONDoesNotDependOnOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	ids := make([]ID, 200)
	for i := range ids {
		ids[i] = randomID(rng)
	}
	var want []byte
	for range 20 {
		var p Progress
		for _, i := range rng.Perm(len(ids)) {
			p.AddItem(ids[i], itemsOf(ids[i].Offset))
		}
		got, err := json.Marshal(&p)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s\nand %s", got, want)
		}
	}
}

func TestProgressJSONForm(t *testing.T) {
	p := Progress{Bounded: &Position{Source: "h", Epoch: 2, Index: 5}}
	p.AddRange("t", 10, 0, 3)
	p.AddRange("t", 2, 7, 8)
	p.AddItem(ID{"t", 2, 9, 1}, 2)
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"bounded":{"source":"h","epoch":2,"index":5},` +
		`"streams":{"t":{"10":[{"start":0,"end":3}],"2":[{"start":7,"end":8}]}},` +
		`"pending":[{"source":"t","partition":2,"offset":9,"items":2,"done":[{"start":1,"end":2}]}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if zero, _ := json.Marshal(Progress{}); string(zero) != "{}" {
		t.Errorf("the start is %s", zero)
	}
}

// Consumed nearly in order, a long stream stays a few numbers.
func TestProgressStaysSmall(t *testing.T) {
	const n, window = 100_000, 64
	rng := rand.New(rand.NewPCG(3, 3))
	var p Progress
	var waiting []int64
	most := 0
	for next := int64(0); next < n || len(waiting) > 0; {
		for len(waiting) < window && next < n {
			waiting = append(waiting, next)
			next++
		}
		i := rng.IntN(len(waiting))
		if rng.IntN(4) > 0 {
			i = 0
		}
		p.Add(ID{Source: "t", Offset: waiting[i]})
		waiting = slices.Delete(waiting, i, i+1)
		most = max(most, len(p.Streams["t"][0]))
	}
	if most > window {
		t.Errorf("%d intervals at most, want no more than the %d samples in flight", most, window)
	}
	if got := p.Streams["t"][0]; !slices.Equal(got, Intervals{{0, n}}) {
		t.Errorf("in the end %v", got)
	}
}

func TestProgressJSONRefused(t *testing.T) {
	for _, text := range []string{
		`{"streams":{"t":{"0":[{"start":3,"end":3}]}}}`,
		`{"streams":{"t":{"0":[{"start":3,"end":5},{"start":5,"end":6}]}}}`,
		`{"streams":{"t":{"0":[{"start":3,"end":5},{"start":1,"end":2}]}}}`,
		`{"streams":{"t":{"x":[]}}}`,
		`{"pending":[{"source":"t","offset":1,"items":2,"done":[]}]}`,
		`{"pending":[{"source":"t","offset":1,"items":2,"done":[{"start":0,"end":2}]}]}`,
		`{"pending":[{"source":"t","offset":1,"items":2,"done":[{"start":-1,"end":1}]}]}`,
		`{"pending":[{"source":"t","offset":1,"items":3,"done":[{"start":3,"end":4}]}]}`,
		`{"pending":[{"source":"t","offset":2,"items":3,"done":[{"start":0,"end":1}]},` +
			`{"source":"t","offset":1,"items":3,"done":[{"start":0,"end":1}]}]}`,
	} {
		var p Progress
		if err := json.Unmarshal([]byte(text), &p); err == nil {
			t.Errorf("%s is read as %+v", text, p)
		}
	}
}

func FuzzProgress(f *testing.F) {
	f.Add([]byte(`{"bounded":{"source":"h","epoch":2,"index":5},"streams":{"t":{"10":[{"start":0,"end":3}]}}}`))
	f.Add([]byte(`{"pending":[{"source":"t","partition":2,"offset":9,"items":2,"done":[{"start":1,"end":2}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Progress
		if json.Unmarshal(text, &p) != nil {
			return
		}
		for source, partitions := range p.Streams {
			for partition := range partitions {
				id := ID{Source: source, Partition: partition, Offset: p.Streams[source][partition].FirstGap(0)}
				p.AddItem(id, 1)
				if id.Offset < 1<<62 && !p.Contains(id) {
					t.Fatalf("added %v in vain", id)
				}
			}
		}
		if _, err := json.Marshal(&p); err != nil {
			t.Fatal(err)
		}
	})
}

func TestIntervals(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 5))
		var s, other Intervals
		var in [64]bool
		for range rng.IntN(20) {
			start := rng.Int64N(60)
			end := start + rng.Int64N(5)
			for o := start; o < end; o++ {
				in[o] = true
			}
			if rng.IntN(2) == 0 {
				s = s.Add(start, end)
			} else {
				other = other.Add(start, end)
			}
		}
		before := slices.Clone(other)
		s = s.Merge(other)
		if !slices.Equal(other, before) {
			t.Fatal("Merge changed its argument")
		}
		checkIntervals(t, s, in[:])
	}
}

func checkIntervals(t *testing.T, s Intervals, in []bool) {
	t.Helper()
	var size int64
	for from := range in {
		if s.Contains(int64(from)) != in[from] {
			t.Fatalf("%v: Contains(%d) is %v", s, from, !in[from])
		}
		gap := from
		for gap < len(in) && in[gap] {
			gap++
		}
		if got := s.FirstGap(int64(from)); got != int64(gap) {
			t.Fatalf("%v: FirstGap(%d) is %d, want %d", s, from, got, gap)
		}
		missing := make([]bool, len(in))
		for g := range s.Gaps(int64(from), int64(len(in))) {
			for o := g.Start; o < g.End; o++ {
				missing[o] = true
			}
		}
		for o := range in {
			if missing[o] != (o >= from && !in[o]) {
				t.Fatalf("%v: Gaps from %d are wrong at %d", s, from, o)
			}
		}
		if in[from] {
			size++
		}
	}
	if s.Len() != size {
		t.Fatalf("%v: Len is %d, want %d", s, s.Len(), size)
	}
}
