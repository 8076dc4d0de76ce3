package train

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mocostream/augment"
	"mocostream/internal/safetensors"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// out is by definition whether a key is no negative of a query; both are tags.
func out(o Options, query, key []int64) bool {
	held := key[tagSample] != noKey && key[tagSample] != nobodys
	switch {
	case o.WarmMasked && key[tagSample] == noKey:
		return true
	case o.Mask == MaskSample:
		return held && query[tagSample] == key[tagSample]
	case o.Mask == MaskSource:
		return held && query[tagSource] == key[tagSource]
	case o.Mask == MaskDuplicate:
		return held && bits.OnesCount64(uint64(query[tagDuplicate])^uint64(key[tagDuplicate])) <= o.Duplicate
	}
	return false
}

// maskings are options with every mask, with and without a queue that fills.
func maskings(o Options) map[string]Options {
	all := map[string]Options{}
	for _, mask := range []Mask{MaskNone, MaskSample, MaskSource, MaskDuplicate} {
		for _, warm := range []bool{false, true} {
			o.Mask, o.Duplicate, o.WarmMasked = mask, 3, warm
			if o.tagged() {
				all[fmt.Sprintf("%s/masked=%v", mask, warm)] = o
			}
		}
	}
	return all
}

// randomTags are tags of which many are alike, with keys that nobody knows and places without.
func randomTags(rng *rand.Rand, n int, special bool) []int64 {
	tags := make([]int64, n*tagColumns)
	for i := range n {
		of := tags[i*tagColumns:][:tagColumns]
		if special && i%5 == 0 {
			of[tagSample] = int64(i / 5 % 2) // noKey or nobodys
			continue
		}
		of[tagSample], of[tagSource] = -1-rng.Int64N(9), math.MinInt64+rng.Int64N(4)
		of[tagDuplicate] = -1 << rng.Int64N(12)
		of[tagTime] = rng.Int64N(2) * (1_700_000_000_000_000 + rng.Int64N(1e9))
	}
	return tags
}

func unitRows(rng *rand.Rand, n, dim int) []float32 { return randomUnits(rng, n, dim) }

// TestMaskedLoss holds loss, its gradient and the figures of a masked contrast against their definitions, in float64.
func TestMaskedLoss(t *testing.T) { testMaskedLoss(t, goBackend(t)) }

// TestXLAMaskedLoss does so on XLA.
func TestXLAMaskedLoss(t *testing.T) { testMaskedLoss(t, xlaBackend(t, 1)) }

func testMaskedLoss(t *testing.T, backend *Backend) {
	const b, n, dim, temperature = 8, 30, 6, .2
	for name, o := range maskings(tiny()) {
		t.Run(name, func(t *testing.T) {
			o.T = temperature
			rng := rand.New(rand.NewPCG(3, 4))
			q, k, queue := unitRows(rng, b, dim), unitRows(rng, b, dim), unitRows(rng, n, dim)
			own, held := randomTags(rng, b, false), randomTags(rng, n, true)
			exec, err := graph.NewExec(backend.Backend, func(in []*Node) []*Node {
				c := (&Trainer{options: o}).against(in[0], in[1], in[2])
				c.out, c.lag = o.masked(in[3], in[4]), lag(in[3], in[4])
				loss := infoNCE(c.positive, c.counted(), temperature)
				return []*Node{measure(loss, c), graph.Gradient(loss, in[0])[0]}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer exec.Finalize()
			got, err := exec.Call(
				tensors.FromFlatDataAndDimensions(q, b, dim), tensors.FromFlatDataAndDimensions(k, b, dim),
				tensors.FromFlatDataAndDimensions(queue, n, dim),
				tensors.FromFlatDataAndDimensions(own, b, tagColumns), tensors.FromFlatDataAndDimensions(held, n, tagColumns),
			)
			if err != nil {
				t.Fatal(err)
			}
			want := reference(o, q, k, queue, dim, own, held)
			figures := tensors.MustCopyFlatData[float32](got[0])
			nearly(t, "gradient", tensors.MustCopyFlatData[float32](got[1]), want.gradient, 1e-4)
			want.compare(t, figures)
			if want.masked == 0 || want.masked > .9 {
				t.Errorf("%v of the pairs are masked: that shows nothing", want.masked)
			}
			if seconds := ages(own, held); math.Abs(float64(figures[reportLag])-seconds) > 1e-3*math.Abs(seconds) {
				t.Errorf("lag %v s, want %v", figures[reportLag], seconds)
			}
		})
	}
}

// figures are a contrast's by definition.
type figures struct {
	loss, negative, masked, top1 float64
	gradient                     []float32 // of the loss by the queries
}

func (f figures) compare(t *testing.T, report []float32) {
	t.Helper()
	for _, c := range []struct {
		name      string
		got       float32
		want, off float64
	}{
		{"loss", report[reportLoss], f.loss, 1e-4},
		{"negative similarity", report[reportNegative], f.negative, 1e-5},
		{"share masked", report[reportMasked], f.masked, 1e-6},
		{"top-1", report[reportTop1], f.top1, 1e-6},
	} {
		if math.Abs(float64(c.got)-c.want) > c.off {
			t.Errorf("%s %v, want %v", c.name, c.got, c.want)
		}
	}
}

// reference is cross-entropy over the negatives that count, written down pair by pair. q, k [b, dim] and queue [n, dim].
func reference(o Options, q, k, queue []float32, dim int, own, held []int64) (f figures) {
	b, n := len(q)/dim, len(queue)/dim
	f.gradient = make([]float32, len(q))
	counted := 0
	for i := range b {
		query := q[i*dim:][:dim]
		keys, logits := [][]float32{k[i*dim:][:dim]}, []float64{dot(query, k[i*dim:][:dim]) / o.T}
		best := true
		for j := range n {
			if out(o, own[i*tagColumns:][:tagColumns], held[j*tagColumns:][:tagColumns]) {
				f.masked += 1 / float64(b*n)
				continue
			}
			key := queue[j*dim:][:dim]
			keys, logits = append(keys, key), append(logits, dot(query, key)/o.T)
			best = best && logits[len(logits)-1] < logits[0]
			f.negative += dot(query, key)
			counted++
		}
		if best {
			f.top1 += 1 / float64(b)
		}
		var sum float64
		for _, l := range logits {
			sum += math.Exp(l)
		}
		f.loss += (math.Log(sum) - logits[0]) / float64(b)
		for j, key := range keys {
			p := math.Exp(logits[j]) / sum
			if j == 0 {
				p--
			}
			for d, x := range key {
				f.gradient[i*dim+d] += float32(p * float64(x) / o.T / float64(b))
			}
		}
	}
	f.negative /= float64(max(counted, 1))
	return f
}

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// ages is the mean time of the one less that of the other, seconds, of those with a time.
func ages(batch, queue []int64) float64 {
	mean := func(tags []int64) float64 {
		var sum, n float64
		for i := tagTime; i < len(tags); i += tagColumns {
			if tags[i] != 0 {
				sum, n = sum+float64(tags[i]), n+1
			}
		}
		return sum / n / 1e6
	}
	return mean(batch) - mean(queue)
}

// Where every negative is masked there is nothing to learn: loss 0, gradient 0, no number that is none.
func TestEverythingMasked(t *testing.T) {
	o := tiny()
	o.Mask, o.WarmMasked = MaskSource, true
	trainer := newTrainer(t, o)
	r := noiseSteps(t, trainer, 1)[0]
	if r.Discarded || r.Loss != 0 || r.Negative != 0 || r.Masked != 1 || r.Top1 != 1 {
		t.Errorf("%+v", r)
	}
}

// ofBursts is a batch of images of which some come from one source, look alike, or have been there before.
func ofBursts(t *testing.T, o Options, step int) augment.Batch {
	t.Helper()
	b := noiseBatch(t, o, uint64(step))
	rng := rand.New(rand.NewPCG(uint64(step), 5))
	columns := slices.Clone(b.Record.Columns())
	offsets, visits := array.NewInt64Builder(memory.DefaultAllocator), array.NewInt64Builder(memory.DefaultAllocator)
	hashes, groups := array.NewUint64Builder(memory.DefaultAllocator), array.NewUint64Builder(memory.DefaultAllocator)
	times := array.NewTimestampBuilder(memory.DefaultAllocator, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"})
	for i := range o.Batch {
		offsets.Append(rng.Int64N(12))
		visits.Append(rng.Int64N(3))
		hashes.Append(1<<rng.Uint64N(16) - 1)
		groups.Append(rng.Uint64N(3))
		times.Append(arrow.Timestamp(1_700_000_000_000_000 + int64(step*o.Batch+i)*1e6))
	}
	columns[augment.ColOffset], columns[augment.ColHash] = offsets.NewArray(), hashes.NewArray()
	columns[augment.ColGroup], columns[augment.ColTime] = groups.NewArray(), times.NewArray()
	columns[augment.ColVisit] = visits.NewArray()
	b.Record = array.NewRecord(b.Record.Schema(), columns, int64(o.Batch))
	return b
}

// TestStepsMask follows queue and tags of whole steps: each step's figures are those of a ring written down key by key.
func TestStepsMask(t *testing.T) {
	all := maskings(tiny())
	symmetric, inParts := all["source/masked=true"], all["duplicate/masked=false"]
	symmetric.K, symmetric.Symmetric = 16, true
	inParts.K, inParts.Accumulate, inParts.Groups = 12, 2, 1
	all["symmetric"], all["in parts"] = symmetric, inParts
	for name, o := range all {
		t.Run(name, func(t *testing.T) {
			if o.K == tiny().K {
				o.K = 10 // that batches do not divide
			}
			followMask(t, newTrainer(t, o), 6)
		})
	}
}

func followMask(t *testing.T, trainer *Trainer, steps int) {
	t.Helper()
	o := trainer.options
	trainer.traced = true
	if err := trainer.Compile(); err != nil {
		t.Fatal(err)
	}
	held, pointer, shown := make([]int64, o.K*tagColumns), 0, false
	for step := range steps {
		queue, err := trainer.floats(queueName)
		if err != nil {
			t.Fatal(err)
		}
		b := ofBursts(t, o, step)
		own := tagsOf(&b)
		report, q, k := tracedStep(t, trainer, b)
		want := referenceOfParts(o, q, k, queue, own, held)
		want.compare(t, report)
		shown = shown || want.masked > 0 && want.masked < 1
		for range o.keys() / o.Batch {
			for i := range o.Batch {
				copy(held[pointer*tagColumns:][:tagColumns], own[i*tagColumns:][:tagColumns])
				pointer = (pointer + 1) % o.K
			}
		}
		if !slices.Equal(tagsHeld(t, trainer), held) {
			t.Fatalf("step %d: the queue's tags are not those of its keys", step+1)
		}
	}
	if !shown {
		t.Error("no step masked some keys and others not: that shows nothing")
	}
}

// tagsHeld are the tags of the queue.
func tagsHeld(t *testing.T, trainer *Trainer) []int64 {
	t.Helper()
	value, err := trainer.variable(tagsName).Value()
	if err != nil {
		t.Fatal(err)
	}
	return tensors.MustCopyFlatData[int64](value)
}

// referenceOfParts is a step's reference: means over the parts of each contrast, and the losses' sum over contrasts. q, k
// have one contrast's rows after the other's.
func referenceOfParts(o Options, q, k, queue []float32, own, held []int64) (mean figures) {
	part, dim := o.Batch/o.parts(), o.Encoder.Dim
	n := len(q) / dim / part
	for i := range n {
		at := i * part * dim
		f := reference(o, q[at:][:part*dim], k[at:][:part*dim], queue, dim, own[i%o.parts()*part*tagColumns:], held)
		mean.loss += f.loss / float64(o.parts())
		mean.negative += f.negative / float64(n)
		mean.masked += f.masked / float64(n)
		mean.top1 += f.top1 / float64(n)
	}
	return mean
}

// tracedStep takes a step and returns its report, queries and keys.
func tracedStep(t *testing.T, trainer *Trainer, b augment.Batch) (report, q, k []float32) {
	t.Helper()
	defer b.Release()
	arguments, err := trainer.copy(&b)
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := trainer.execute(arguments, .01)
	if err != nil {
		t.Fatal(err)
	}
	var values [3][]float32
	for i := range values {
		values[i] = tensors.MustCopyFlatData[float32](outputs[i])
	}
	return values[0], values[1], values[2]
}

// A symmetric step's loss is the sum of both directions' cross-entropies, by the definition, each over its own key and the
// queue as it was.
func TestSymmetricLossByDefinition(t *testing.T) {
	for name, c := range map[string]struct{ parts, groups int }{"whole": {1, 2}, "in parts": {2, 1}} {
		t.Run(name, func(t *testing.T) {
			o := tiny()
			o.Symmetric, o.K, o.Accumulate, o.Groups = true, 10, c.parts, c.groups
			trainer := newTrainer(t, o)
			trainer.traced = true
			if err := trainer.Compile(); err != nil {
				t.Fatal(err)
			}
			for step := range 3 {
				queue, err := trainer.floats(queueName)
				if err != nil {
					t.Fatal(err)
				}
				report, q, k := tracedStep(t, trainer, noiseBatch(t, o, uint64(step)))
				if len(q) != 2*o.Batch*o.Encoder.Dim || slices.Equal(q[:len(q)/2], q[len(q)/2:]) {
					t.Fatal("the views' queries are not two")
				}
				unmasked := make([]int64, max(o.K, o.Batch)*tagColumns)
				referenceOfParts(o, q, k, queue, unmasked[:o.Batch*tagColumns], unmasked[:o.K*tagColumns]).compare(t, report)
			}
		})
	}
}

// The other mechanisms mask what they hold queries against: keys of the batch, entries of the bank.
func TestMaskOfEveryMechanism(t *testing.T) {
	all := mechanisms(t, input{images: 10})
	o := all[EndToEnd]
	o.Mask, o.Duplicate = MaskSource, 3
	trainer := newTrainer(t, o)
	trainer.traced = true
	if err := trainer.Compile(); err != nil {
		t.Fatal(err)
	}
	b := ofBursts(t, o, 1)
	own := tagsOf(&b)
	report, q, k := tracedStep(t, trainer, b)
	var want, pairs float64
	for i := range o.Batch {
		for j := range o.Batch {
			if i != j && out(o, own[i*tagColumns:][:tagColumns], own[j*tagColumns:][:tagColumns]) {
				pairs++
			}
		}
	}
	if want = pairs / float64(o.Batch*(o.Batch-1)); want == 0 || math.Abs(float64(report[reportMasked])-want) > 1e-6 {
		t.Errorf("%s: %v masked, want %v", EndToEnd, report[reportMasked], want)
	}
	var loss float64
	for i := range o.Batch {
		var sum float64
		query := q[i*o.Encoder.Dim:][:o.Encoder.Dim]
		for j := range o.Batch {
			if i == j || !out(o, own[i*tagColumns:][:tagColumns], own[j*tagColumns:][:tagColumns]) {
				sum += math.Exp(dot(query, k[j*o.Encoder.Dim:][:o.Encoder.Dim]) / o.T)
			}
		}
		loss += (math.Log(sum) - dot(query, k[i*o.Encoder.Dim:][:o.Encoder.Dim])/o.T) / float64(o.Batch)
	}
	if math.Abs(float64(report[reportLoss])-loss) > 1e-4 {
		t.Errorf("%s: loss %v, want %v", EndToEnd, report[reportLoss], loss)
	}
	bank := all[MemoryBank]
	bank.K, bank.Mask = 50, MaskSample
	trainer = newTrainer(t, bank)
	negatives := memoryBank{trainer}.negatives()
	batch := <-input{images: 10}.open(t)
	rows, err := bank.Bank.Rows.of(&batch)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for _, row := range rows {
		for _, negative := range negatives {
			if row == negative {
				same++
			}
		}
	}
	r, err := trainer.Step(t.Context(), batch)
	if want := float64(same) / float64(len(rows)*len(negatives)); err != nil || want == 0 || math.Abs(r.Masked-want) > 1e-6 {
		t.Errorf("%s: %v masked (%v), want %v", MemoryBank, r.Masked, err, want)
	}
}

func TestMasksAreRefused(t *testing.T) {
	in := input{images: 10}
	for want, c := range map[string]struct {
		mechanism Mechanism
		change    func(*Options)
	}{
		"memory_bank knows of its entries only which image they are of": {MemoryBank, func(o *Options) { o.Mask = MaskSource }},
		"memory_bank has no queue that fills":                           {MemoryBank, func(o *Options) { o.WarmMasked = true }},
		"end_to_end has no queue that fills":                            {EndToEnd, func(o *Options) { o.WarmMasked = true }},
		`unknown mask "all"`:                                            {MoCo, func(o *Options) { o.Mask = "all" }},
		"hashes of 64 bits cannot differ in 65":                         {MoCo, func(o *Options) { o.Mask, o.Duplicate = MaskDuplicate, 65 }},
	} {
		o := mechanisms(t, in)[c.mechanism]
		c.change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Tags go through checkpoints. A run without them can take a mask up: what its queue holds is nobody's.
func TestTagsInCheckpoints(t *testing.T) {
	o := tiny()
	o.K = 12
	plain := newTrainer(t, o)
	noiseSteps(t, plain, 2)
	o.Mask, o.WarmMasked = MaskSource, true
	first := newTrainer(t, o)
	if err := first.Restore(checkpointOf(t, plain)); err != nil {
		t.Fatal(err)
	}
	samples := func(trainer *Trainer) []int64 {
		read, err := safetensors.Int64s(byName(checkpointOf(t, trainer).Model)[tagTensors[tagSample]])
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	if got, want := fmt.Sprint(samples(first)), "[1 1 1 1 1 1 1 1 0 0 0 0]"; got != want {
		t.Errorf("after two steps without tags: %s, want %s", got, want)
	}
	step := func(trainer *Trainer) {
		if _, err := trainer.Step(t.Context(), ofBursts(t, o, int(trainer.Steps()))); err != nil {
			t.Fatal(err)
		}
	}
	step(first)
	second := newTrainer(t, o)
	if err := second.Restore(checkpointOf(t, first)); err != nil {
		t.Fatal(err)
	}
	step(first)
	step(second)
	sameState(t, "resumed", checkpointOf(t, second), checkpointOf(t, first))
	if slices.Contains(samples(second), 0) {
		t.Errorf("rows without keys in a full queue: %v", samples(second))
	}
	c := checkpointOf(t, first)
	c.Model = slices.DeleteFunc(c.Model, func(s safetensors.Tensor) bool { return s.Name == "queue_time" })
	if err := newTrainer(t, o).Restore(c); err == nil || !strings.Contains(err.Error(), "queue_time is missing") {
		t.Errorf("got %v", err)
	}
	if err := newTrainer(t, tiny()).Restore(checkpointOf(t, newTrainer(t, tiny()))); err != nil {
		t.Error(err)
	}
	o.Mask, o.WarmMasked = MaskNone, false
	if err := newTrainer(t, o).Restore(checkpointOf(t, first)); err != nil {
		t.Errorf("a run that masks no more: %v", err)
	}
}
