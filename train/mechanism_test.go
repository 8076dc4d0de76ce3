package train

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"mocostream/augment"
	"mocostream/ingest/ingesttest"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// mechanisms are tiny with each of the mechanisms; the bank is of the images of in.
func mechanisms(t *testing.T, in input) map[Mechanism]Options {
	t.Helper()
	endToEnd := tinyAdamW()
	endToEnd.Mechanism, endToEnd.K, endToEnd.M = EndToEnd, 0, 0
	bank := tinyBank()
	bank.Bank.Rows, bank.M = rowsOf(t, in.source(t)), 0
	return map[Mechanism]Options{MoCo: tiny(), EndToEnd: endToEnd, MemoryBank: bank}
}

func rowsOf(t *testing.T, source *ingesttest.FakeBounded) *Rows {
	t.Helper()
	m, err := source.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows, err := NewRows(m)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// A checkpoint holds what the mechanism needs to go on, and nothing else.
func TestMechanismsInCheckpoints(t *testing.T) {
	in := input{images: 10}
	for mechanism, o := range mechanisms(t, in) {
		t.Run(string(mechanism), func(t *testing.T) {
			trainer := newTrainer(t, o)
			steps(t, trainer, in.open(t), 1)
			c := checkpointOf(t, trainer)
			encoders, kept := []string{}, map[string][]int{}
			for _, tensor := range c.Model {
				encoder, _, ok := strings.Cut(tensor.Name, ".")
				if !ok {
					kept[tensor.Name] = tensor.Shape
				} else if !slices.Contains(encoders, encoder) {
					encoders = append(encoders, encoder)
				}
			}
			trained := map[string]bool{}
			for _, tensor := range c.Optimizer {
				trained[strings.Split(tensor.Name, ".")[1]] = true
			}
			got := fmt.Sprint(encoders, kept, trained)
			want := map[Mechanism]string{
				MoCo:       "[encoder_q encoder_k] map[queue:[8 6] queue_ptr:[1]] map[encoder_q:true]",
				EndToEnd:   "[encoder_q encoder_k] map[] map[encoder_k:true encoder_q:true]",
				MemoryBank: "[encoder_q] map[bank:[10 8]] map[encoder_q:true]",
			}[mechanism]
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if c.HasKeyEncoder() != (mechanism != MemoryBank) {
				t.Errorf("a key encoder: %v", c.HasKeyEncoder())
			}
		})
	}
}

func TestRestoreAsksForTheBank(t *testing.T) {
	in := input{images: 10}
	trainer := newTrainer(t, mechanisms(t, in)[MemoryBank])
	c := checkpointOf(t, trainer)
	other := newTrainer(t, mechanisms(t, input{images: 11})[MemoryBank])
	const want = "checkpoint: tensor bank has shape [10 8], expected [11 8]"
	if err := other.Restore(c); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := NewEmbedderFrom(trainer.backend, tinyEmbedder(2), c, "k"); err == nil || !strings.Contains(err.Error(), "has no key encoder") {
		t.Errorf("got %v, want that there is no key encoder", err)
	}
}

// After a step the entries of the batch's images, and no others, have moved from where they were to the queries.
func TestStepMovesEntriesOfTheBank(t *testing.T) {
	in := input{images: 10, epochs: 2}
	o := mechanisms(t, in)[MemoryBank]
	trainer := newTrainer(t, o)
	trainer.traced = true
	if err := trainer.Compile(); err != nil {
		t.Fatal(err)
	}
	batches, dim := in.open(t), o.Encoder.Dim
	for range 3 { // the third holds the end of one pass and the start of the next
		b := <-batches
		want, err := trainer.floats(bankName)
		if err != nil {
			t.Fatal(err)
		}
		old := slices.Clone(want)
		var rows []int
		for _, key := range sampleKeys(&b) {
			var image int
			if _, err := fmt.Sscanf(key, "img/%d", &image); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, image)
		}
		q := tracedQueries(t, trainer, b)
		for i, row := range rows {
			copy(want[row*dim:][:dim], halfway(old[row*dim:][:dim], q[i*dim:][:dim]))
		}
		got, err := trainer.floats(bankName)
		if err != nil {
			t.Fatal(err)
		}
		nearly(t, "bank", got, want, 1e-6)
		moved := 0
		for row := range 10 {
			if !slices.Equal(got[row*dim:][:dim], old[row*dim:][:dim]) {
				moved++
			}
		}
		slices.Sort(rows)
		if distinct := len(slices.Compact(rows)); moved != distinct {
			t.Errorf("%d entries moved, want %d", moved, distinct)
		}
	}
}

// tracedQueries takes one step and returns the queries' embeddings.
func tracedQueries(t *testing.T, trainer *Trainer, b augment.Batch) []float32 {
	t.Helper()
	defer b.Release()
	arguments, err := trainer.copy(&b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := trainer.execute(arguments, .1)
	if err != nil {
		t.Fatal(err)
	}
	return tensors.MustCopyFlatData[float32](out[1])
}

// halfway is the unit vector in the direction of a + b.
func halfway(a, b []float32) []float32 {
	sum, length := make([]float32, len(a)), 0.
	for i := range a {
		sum[i] = a[i] + b[i]
		length += float64(sum[i]) * float64(sum[i])
	}
	for i := range sum {
		sum[i] /= float32(math.Sqrt(length))
	}
	return sum
}

func TestPutRowsTakesTheLastOfSeveral(t *testing.T) {
	exec, err := graph.NewExec(goBackend(t).Backend, putRows)
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	out, err := exec.Call([][]float32{{0, 0}, {1, 1}, {2, 2}, {3, 3}}, [][]float32{{10, 11}, {20, 21}, {30, 31}}, []int32{2, 0, 2})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tensors.MustCopyFlatData[float32](out[0]), []float32{20, 21, 1, 1, 30, 31, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Negatives follow from seed and step, and reach every row of the bank.
func TestNegativesOfTheBank(t *testing.T) {
	o := tinyBank()
	o.K = 200
	draw := func(seed uint64, done int64) []int32 {
		o.Seed = seed
		return memoryBank{&Trainer{options: o, done: done}}.negatives()
	}
	first := draw(7, 3)
	if !slices.Equal(first, draw(7, 3)) || slices.Equal(first, draw(7, 4)) || slices.Equal(first, draw(8, 3)) {
		t.Error("negatives are no function of seed and step")
	}
	slices.Sort(first)
	if distinct := slices.Compact(first); len(distinct) != 10 || distinct[0] != 0 || distinct[9] != 9 {
		t.Errorf("200 draws reach the rows %v, want 0 to 9", distinct)
	}
}

// Images of shards are numbered through; those of another list have no number.
func TestRowsOfShards(t *testing.T) {
	source := ingesttest.NewFakeBounded(t, ingesttest.Generate(0, 3, 10), nil, ingesttest.Generate(1, 2, 10))
	rows := rowsOf(t, source)
	if rows.Len() != 5 {
		t.Fatalf("%d rows, want 5", rows.Len())
	}
	for _, c := range []struct {
		partition int32
		offset    int64
		want      int32
	}{{0, 0, 0}, {0, 2, 2}, {2, 0, 3}, {2, 1, 4}} {
		if got, err := rows.row(rows.source, c.partition, c.offset); err != nil || got != c.want {
			t.Errorf("image %d of partition %d has row %d (%v), want %d", c.offset, c.partition, got, err, c.want)
		}
	}
	for _, c := range []struct {
		source    string
		partition int32
		offset    int64
	}{{"other", 0, 0}, {rows.source, 0, 3}, {rows.source, 1, 0}, {rows.source, 3, 0}, {rows.source, -1, 0}, {rows.source, 0, -1}} {
		if _, err := rows.row(c.source, c.partition, c.offset); err == nil || !strings.Contains(err.Error(), "is not in the list "+rows.source) {
			t.Errorf("%v: got %v", c, err)
		}
	}
}
