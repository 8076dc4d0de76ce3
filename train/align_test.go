package train

import (
	"math"
	"slices"
	"strings"
	"testing"

	"mocostream/augment"
	"mocostream/internal/safetensors"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/gomlx/gomlx/core/tensors"
)

// aligned is o with an alignment of every image.
func aligned(o Options) Options {
	o.Align = AlignOptions{Weight: 2, Momentum: .9}
	return o
}

// revisited is a batch of which the images named have been there before.
func revisited(t *testing.T, o Options, seed uint64, images ...int) augment.Batch {
	t.Helper()
	b := noiseBatch(t, o, seed)
	columns := slices.Clone(b.Record.Columns())
	visits := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range o.Batch {
		if slices.Contains(images, i) {
			visits.Append(int64(i + 1))
		} else {
			visits.Append(0)
		}
	}
	columns[augment.ColVisit] = visits.NewArray()
	b.Record = array.NewRecord(b.Record.Schema(), columns, int64(o.Batch))
	return b
}

// firstStep takes one traced step of a new trainer and returns its report, queries and gradients by weight.
func firstStep(t *testing.T, o Options, b augment.Batch) (report, q []float32, gradients map[string][]float32) {
	t.Helper()
	defer b.Release()
	trainer := newTrainer(t, o)
	trainer.traced = true
	if err := trainer.Compile(); err != nil {
		t.Fatal(err)
	}
	arguments, err := trainer.copy(&b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := trainer.execute(arguments, .1)
	if err != nil {
		t.Fatal(err)
	}
	gradients = map[string][]float32{}
	for i, w := range trainer.weights {
		gradients[w.tensor()] = tensors.MustCopyFlatData[float32](out[4+i])
	}
	return tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1]), gradients
}

// distances are 1 - cosine of each query and its prediction, by the definition, where the slow encoder is the query encoder.
func distances(o Options, q []float32) (all []float64) {
	values := map[string][]float32{}
	for _, p := range o.Encoder.predictorParameters() {
		values[p.Name] = p.Initial(o.Seed)
	}
	layer := func(x []float64, name string) []float64 {
		w, y := values[name+".weight"], make([]float64, len(values[name+".bias"]))
		for i := range y {
			y[i] = float64(values[name+".bias"][i])
			for j, v := range x {
				y[i] += float64(w[i*len(x)+j]) * v
			}
		}
		return y
	}
	dim := o.Encoder.Dim
	for at := 0; at < len(q); at += dim {
		x := make([]float64, dim)
		for i := range x {
			x[i] = float64(q[at+i])
		}
		hidden := layer(x, "0")
		for i := range hidden {
			hidden[i] = max(hidden[i], 0)
		}
		y := layer(hidden, "2")
		var product, length float64
		for i := range y {
			product += y[i] * x[i]
			length += y[i] * y[i]
		}
		all = append(all, 1-product/math.Sqrt(length))
	}
	return all
}

// In the first step the slow encoder is the query encoder: the distance is that of the predictor alone, over the images that
// count, and loss and negatives are as without alignment.
func TestAlignmentByDefinition(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		visits []int // nil: all images count
	}{
		"all":       {func(*Options) {}, nil},
		"some":      {func(*Options) {}, []int{1, 2}},
		"none":      {func(*Options) {}, []int{}},
		"symmetric": {func(o *Options) { o.K, o.Symmetric = 8, true }, []int{0, 3}},
		"in parts":  {func(o *Options) { o.Accumulate, o.Groups = 2, 1 }, []int{0, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			o := aligned(tiny())
			c.change(&o)
			o.Align.Replayed = c.visits != nil
			report, q, _ := firstStep(t, o, revisited(t, o, 1, c.visits...))
			var want, n float64
			for i, d := range distances(o, q) {
				if c.visits == nil || slices.Contains(c.visits, i%o.Batch) {
					want, n = want+d, n+1
				}
			}
			if want /= max(n, 1); math.Abs(float64(report[reportApart])-want) > 1e-5 {
				t.Errorf("apart %v, want %v", report[reportApart], want)
			}
			o.Align = AlignOptions{}
			plain, _, _ := firstStep(t, o, revisited(t, o, 1))
			if report[reportLoss] != plain[reportLoss] || plain[reportApart] != 0 {
				t.Errorf("loss %v, without alignment %v and %v apart", report[reportLoss], plain[reportLoss], plain[reportApart])
			}
		})
	}
}

// The gradient is that of the contrast and Weight times that of the distance, which images that do not count have no part in.
func TestAlignmentGradients(t *testing.T) {
	gradients := func(weight float64, visits ...int) []float32 {
		o := tiny()
		o.Encoder.Activation, o.Align = "silu", AlignOptions{Weight: weight, Momentum: .9, Replayed: true}
		_, _, all := firstStep(t, o, revisited(t, o, 1, visits...))
		return all["encoder_q.fc.2.weight"]
	}
	plain, once, twice := gradients(0), gradients(1, 0, 1), gradients(2, 0, 1)
	var first, second []float32
	for i := range plain {
		first, second = append(first, once[i]-plain[i]), append(second, twice[i]-once[i])
	}
	nearly(t, "what a weight of 1 adds", second, first, 1e-4)
	nearly(t, "without images that count", gradients(1), plain, 1e-6)
}

// The slow encoder moves before it is used, by its momentum; alignment brings what it pulls together, whatever the mechanism.
func TestAlignmentOfEveryMechanism(t *testing.T) {
	in := input{images: 10}
	for mechanism, o := range mechanisms(t, in) {
		t.Run(string(mechanism), func(t *testing.T) {
			trainer := newTrainer(t, aligned(o))
			batches := in.open(t)
			first := steps(t, trainer, batches, 1)
			before := checkpointOf(t, trainer)
			steps(t, trainer, batches, 1)
			after := checkpointOf(t, trainer)
			const name = "fc.2.weight"
			want := tensorValues(t, before.Model, slowEncoder+"."+name)
			for i, x := range tensorValues(t, before.Model, queryEncoder+"."+name) {
				want[i] = .9*want[i] + .1*x
			}
			nearly(t, "slow encoder", tensorValues(t, after.Model, slowEncoder+"."+name), want, 1e-6)
			if last := steps(t, trainer, batches, 30); !(last.Apart < first.Apart/2) {
				t.Errorf("%v apart at first, %v after 32 steps", first.Apart, last.Apart)
			}
		})
	}
}

// A run goes on with the same bits; one without alignment can take it up, and one with it lay it down.
func TestAlignmentInCheckpoints(t *testing.T) {
	plain := newTrainer(t, tiny())
	noiseSteps(t, plain, 2)
	first := newTrainer(t, aligned(tiny()))
	if err := first.Restore(checkpointOf(t, plain)); err != nil {
		t.Fatal(err)
	}
	c := checkpointOf(t, first)
	for _, p := range first.parameters {
		if q := tensorValues(t, c.Model, queryEncoder+"."+p.Name); !slices.Equal(tensorValues(t, c.Model, slowEncoder+"."+p.Name), q) {
			t.Errorf("taken up, the slow encoder's %s is not the query encoder's", p.Name)
		}
	}
	noiseSteps(t, first, 1)
	second := newTrainer(t, aligned(tiny()))
	if err := second.Restore(checkpointOf(t, first)); err != nil {
		t.Fatal(err)
	}
	noiseSteps(t, first, 1)
	noiseSteps(t, second, 1)
	sameState(t, "resumed", checkpointOf(t, second), checkpointOf(t, first))
	if err := newTrainer(t, tiny()).Restore(checkpointOf(t, first)); err != nil {
		t.Error(err)
	}
	c = checkpointOf(t, first)
	c.Model = slices.DeleteFunc(c.Model, func(s safetensors.Tensor) bool { return s.Name == "predictor.2.bias" })
	if err := newTrainer(t, aligned(tiny())).Restore(c); err == nil || !strings.Contains(err.Error(), "tensor predictor.2.bias is missing") {
		t.Errorf("got %v", err)
	}
}

func TestAlignmentIsChecked(t *testing.T) {
	for want, change := range map[string]AlignOptions{
		"the weight of the alignment must be 0 or more, got -1": {Weight: -1},
		"the slow encoder's momentum must be in [0, 1], got 2":  {Weight: 1, Momentum: 2},
	} {
		o := tiny()
		o.Align = change
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
