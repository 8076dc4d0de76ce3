package train

import (
	"encoding/json"
	"reflect"
	"testing"

	"mocostream/augment"
	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// sampleKeys returns the names of a batch's samples.
func sampleKeys(b *augment.Batch) []string {
	column := b.Record.Column(augment.ColKey).(*array.String)
	names := make([]string, b.Len())
	for i := range names {
		names[i] = string([]byte(column.Value(i))) // the record's memory ends with the batch
	}
	return names
}

// A run of n steps and one that is cut in two end in the same bits, with any number of augmentation workers.
func TestResumedRunsEndInTheSameBits(t *testing.T) {
	const n = 9
	run := func(t *testing.T, o Options, upTo int64, workers int, from *Checkpoint) *Checkpoint {
		t.Helper()
		trainer := newTrainer(t, o)
		in := input{images: 10, bad: []int{3}, workers: workers}
		name := ""
		if from != nil {
			if err := trainer.Restore(from); err != nil {
				t.Fatal(err)
			}
			in.start, name = from.Token, "step-000000004"
		}
		store := &memoryStore{}
		loop := NewLoop(trainer, store, LoopOptions{Steps: upTo, PerPass: 10}, Hooks{}, from, name)
		s, err := loop.Run(t.Context(), in.open(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(store.saved) != 1 || store.saved[0].Samples != s.Samples || s.Samples != 4*upTo {
			t.Fatalf("%+v, %d checkpoints", s, len(store.saved))
		}
		return store.saved[0]
	}
	all := optimizers()
	for mechanism, o := range mechanisms(t, input{images: 10, bad: []int{3}}) {
		all[string(mechanism)] = o
	}
	parts := tiny()
	parts.Symmetric, parts.Accumulate, parts.Groups, parts.K = true, 2, 1, 10
	all["symmetric, in parts"] = parts
	for name, o := range all {
		t.Run(name, func(t *testing.T) {
			want := run(t, o, n, 1, nil)
			for _, k := range []int64{1, 4} {
				half := run(t, o, k, 3, nil)
				got := run(t, o, n, 2, &Checkpoint{
					Step: half.Step, Samples: half.Samples, Token: half.Token.Clone(),
					Encoder: half.Encoder, Model: half.Model, Optimizer: half.Optimizer,
				})
				sameState(t, "resumed", got, want)
				if got.Samples != want.Samples || !reflect.DeepEqual(got.Token, want.Token) {
					t.Errorf("%d samples and %+v, want %d and %+v", got.Samples, got.Token, want.Samples, want.Token)
				}
			}
		})
	}
}

// A run that is asked for no more steps than it has ends at once, with the checkpoint that it came from.
func TestFinishedRunGoesOnToNothing(t *testing.T) {
	trainer := newTrainer(t, tiny())
	steps(t, trainer, input{images: 10}.open(t), 3)
	c := checkpointOf(t, trainer)
	c.Samples, c.Token.Progress.Bounded = 12, &ingest.Position{Epoch: 1, Index: 2}
	for _, o := range []LoopOptions{{Steps: 3, PerPass: 10}, {Epochs: 1, PerPass: 10}} {
		store := &memoryStore{}
		again := newTrainer(t, tiny())
		if err := again.Restore(c); err != nil {
			t.Fatal(err)
		}
		s, err := NewLoop(again, store, o, Hooks{}, c, "step-000000003").Run(t.Context(), nil)
		if err != nil || s.Steps != 3 || s.Samples != 12 || s.Epoch != 1.2 || s.Checkpoint != "step-000000003" || len(store.saved) != 0 {
			t.Errorf("%+v, %d checkpoints, %v", s, len(store.saved), err)
		}
		if _, err := json.Marshal(s); err != nil {
			t.Errorf("the summary of a run without steps cannot be printed: %v", err)
		}
	}
}
