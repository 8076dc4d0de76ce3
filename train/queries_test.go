package train

import (
	"testing"
)

// Queries are what the encoder made of each image, in the batch's order, in one part or several, for both directions.
func TestStepReturnsQueries(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"one view":  func(*Options) {},
		"in parts":  func(o *Options) { o.Accumulate, o.Groups = 2, 1 },
		"symmetric": func(o *Options) { o.Symmetric, o.K = true, 8 },
		"both":      func(o *Options) { o.Symmetric, o.K, o.Accumulate, o.Groups = true, 8, 2, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			o := tiny()
			o.Queries = true
			change(&o)
			trainer := newTrainer(t, o)
			trainer.traced = true
			if err := trainer.Compile(); err != nil {
				t.Fatal(err)
			}
			batch := noiseBatch(t, o, 1)
			want := tracedQueries(t, trainer, batch)
			if o.Symmetric {
				var mean []float32
				for i := 0; i < len(want)/2; i += o.Encoder.Dim {
					mean = append(mean, halfway(want[i:][:o.Encoder.Dim], want[len(want)/2+i:][:o.Encoder.Dim])...)
				}
				want = mean
			}
			again := newTrainer(t, o)
			r, err := again.Step(t.Context(), noiseBatch(t, o, 1))
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Queries) != o.Batch*o.Encoder.Dim {
				t.Fatalf("%d numbers, want %d of %d", len(r.Queries), o.Batch, o.Encoder.Dim)
			}
			nearly(t, "queries", r.Queries, want, 1e-6)
		})
	}
}

// That they are asked for changes no bit of the run; who does not ask has none, and a discarded step has none.
func TestQueriesChangeNothing(t *testing.T) {
	o := tiny()
	plain := newTrainer(t, o)
	o.Queries = true
	asked := newTrainer(t, o)
	for _, r := range noiseSteps(t, plain, 2) {
		if r.Queries != nil {
			t.Errorf("step %d has %d numbers", r.Step, len(r.Queries))
		}
	}
	noiseSteps(t, asked, 2)
	sameState(t, "with queries", checkpointOf(t, asked), checkpointOf(t, plain))
	poison(t, asked, queryEncoder)
	if r := noiseSteps(t, asked, 1)[0]; !r.Discarded || r.Queries != nil {
		t.Errorf("%+v, want a discarded step without queries", r)
	}
}

// On two devices they are those of one, to rounding.
func TestXLAQueries(t *testing.T) {
	backend := xlaBackend(t, 2)
	var queries [2][]float32
	for i := range queries {
		o := overDevices(i + 1)
		o.Queries = true
		queries[i] = noiseSteps(t, onXLA(t, backend, o), 1)[0].Queries
	}
	nearly(t, "queries of two devices", queries[1], queries[0], 1e-5)
}
