package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"mocostream/augment"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

func TestDiscardsCountWithinTheWindow(t *testing.T) {
	for _, c := range []struct {
		steps []int64
		end   bool // with the last of them
	}{
		{[]int64{5}, false}, {[]int64{5, 6}, false}, {[]int64{5, 6, 7}, true}, {[]int64{1, 2, 100}, true}, {[]int64{1, 2, 101}, false},
		{[]int64{1, 50, 101, 149}, true}, {[]int64{1, 90, 180, 270, 360}, false},
	} {
		var d Discards
		for i, step := range c.steps {
			if got, want := d.add(step), c.end && i == len(c.steps)-1; got != want {
				t.Errorf("%v: %v at step %d, want %v", c.steps, got, step, want)
			}
		}
		if d.Total != int64(len(c.steps)) || !slices.Contains(d.Recent, c.steps[len(c.steps)-1]) {
			t.Errorf("%v: %+v", c.steps, d)
		}
	}
}

// writeBack keeps variables of every type and shape, changed by whatever part of the graph.
func TestWriteBack(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		loss, norm float32
		accepted   bool
	}{{1, 2, true}, {nan, 2, false}, {inf, 2, false}, {1, nan, false}, {1, inf, false}, {-inf, 2, false}} {
		trainer := &Trainer{store: model.NewStore()}
		for name, value := range map[string]any{"matrix": [][]float32{{1, 2}, {3, 4}}, "pointer": int32(3), "still": float32(5)} {
			if err := trainer.set(name, tensors.MustFromAnyValue(value)); err != nil {
				t.Fatal(err)
			}
		}
		exec, err := model.NewExec(goBackend(t).Backend, trainer.store, func(_ *model.Scope, loss, norm *Node) *Node {
			g := loss.Graph()
			for _, name := range []string{"matrix", "pointer"} {
				v := trainer.variable(name)
				v.SetNodeValue(graph.AddScalar(v.NodeValue(g), 1))
			}
			trainer.writeBack(g, loss, norm)
			return graph.Mul(trainer.variable("still").NodeValue(g), loss)
		})
		if err != nil {
			t.Fatal(err)
		}
		exec.MustCall(c.loss, c.norm)
		matrix := tensors.MustCopyFlatData[float32](trainer.variable("matrix").MustValue())
		pointer := tensors.ToScalar[int32](trainer.variable("pointer").MustValue())
		if got := slices.Equal(matrix, []float32{2, 3, 4, 5}) && pointer == 4; got != c.accepted {
			t.Errorf("loss %v, norm %v: %v and %d", c.loss, c.norm, matrix, pointer)
		}
		if !c.accepted && !(slices.Equal(matrix, []float32{1, 2, 3, 4}) && pointer == 3) {
			t.Errorf("loss %v, norm %v: %v and %d, want what was there", c.loss, c.norm, matrix, pointer)
		}
		exec.Finalize()
		trainer.Close()
	}
}

// poison makes one bias of an encoder's head no number, and returns what puts it right.
func poison(t *testing.T, trainer *Trainer, encoder string) (cure func()) {
	t.Helper()
	name := encoder + "/fc.2.bias"
	good, err := trainer.floats(name)
	if err != nil {
		t.Fatal(err)
	}
	shape := trainer.variable(name).Shape().Dimensions
	put := func(values []float32) {
		if err := trainer.create(name, slices.Clone(values), shape...); err != nil {
			t.Fatal(err)
		}
	}
	bad := slices.Clone(good)
	bad[0] = float32(math.NaN())
	put(bad)
	return func() { put(good) }
}

// A discarded step leaves every bit of the state as it was, counts, and does not move AdamW's corrections.
func TestDiscardedStepChangesNothing(t *testing.T) {
	for name, o := range optimizers() {
		t.Run(name, func(t *testing.T) {
			o.Schedule = ScheduleOptions{Name: "constant", Base: o.Schedule.Base}
			trainer := newTrainer(t, o)
			batches := input{images: 10}.open(t)
			steps(t, trainer, batches, 2)
			cure := poison(t, trainer, keyEncoder)
			before := checkpointOf(t, trainer)
			r := steps(t, trainer, batches, 1)
			if !r.Discarded || r.Step != 3 || !math.IsNaN(r.Loss) || trainer.Steps() != 3 {
				t.Fatalf("%+v after %d steps", r, trainer.Steps())
			}
			after := checkpointOf(t, trainer)
			after.Step = before.Step
			sameState(t, "after a discarded step", after, before)
			cure()
			if r := steps(t, trainer, batches, 1); r.Discarded || !finite(r.Loss) || r.Step != 4 {
				t.Errorf("after the cure: %+v", r)
			}
			if got, want := trainer.options.Optimizer.hyper(1, trainer.done-trainer.discards.Total), o.Optimizer.hyper(1, 3); got != want {
				t.Errorf("the next step has the numbers %v, want those of the fourth update, %v", got, want)
			}
		})
	}
}

// Whatever a mechanism changes, a queue, a bank, two encoders, with views and parts as many as there may be.
func TestDiscardedStepOfEveryMechanism(t *testing.T) {
	in := input{images: 10}
	all := map[string]Options{"symmetric": tiny(), "in parts": tiny()}
	for mechanism, o := range mechanisms(t, in) {
		all[string(mechanism)] = o
	}
	for name, o := range all {
		t.Run(name, func(t *testing.T) {
			switch name {
			case "symmetric":
				o.Symmetric, o.K = true, 8
			case "in parts":
				o.Accumulate, o.Groups = 2, 1
			}
			trainer := newTrainer(t, o)
			batches := in.open(t)
			steps(t, trainer, batches, 1)
			cure := poison(t, trainer, queryEncoder)
			before := checkpointOf(t, trainer)
			if r := steps(t, trainer, batches, 1); !r.Discarded {
				t.Errorf("%+v, want a discarded step", r)
			}
			after := checkpointOf(t, trainer)
			after.Step = before.Step
			sameState(t, "after a discarded step", after, before)
			cure()
			if r := steps(t, trainer, batches, 1); r.Discarded {
				t.Errorf("after the cure: %+v", r)
			}
		})
	}
}

// The second of two discarded steps is before a checkpoint, the third after it.
func TestDiscardsSurviveAResume(t *testing.T) {
	trainer := newTrainer(t, tiny())
	batches := input{images: 10}.open(t)
	poison(t, trainer, keyEncoder)
	steps(t, trainer, batches, 2)
	c := checkpointOf(t, trainer)
	c.Extra = map[string]json.RawMessage{}
	if err := trainer.Discards().seal(c.Extra); err != nil {
		t.Fatal(err)
	}
	next := newTrainer(t, tiny())
	if err := next.Restore(c); err != nil {
		t.Fatal(err)
	}
	if d := next.Discards(); d.Total != 2 || !slices.Equal(d.Recent, []int64{1, 2}) {
		t.Errorf("%+v", d)
	}
	r, err := next.Step(t.Context(), <-batches)
	if !errors.Is(err, ErrNotFinite) || !strings.HasPrefix(err.Error(), "step 3: ") || !strings.Contains(err.Error(), "steps [1 2 3] were discarded") {
		t.Errorf("got %v, want %v", err, ErrNotFinite)
	}
	if !r.Discarded || r.Step != 3 {
		t.Errorf("%+v", r)
	}
	c.Extra[discardsKey] = json.RawMessage(`[]`)
	if err := next.Restore(c); err == nil || !strings.HasPrefix(err.Error(), "checkpoint: discards: ") {
		t.Errorf("got %v", err)
	}
}

// A run passes over one bad step: its images are handed over, before the step is reported, and all else goes on.
func TestLoopHandsOverDiscardedSteps(t *testing.T) {
	var d diary
	var keys []string
	var cure func()
	trainer := newTrainer(t, tiny())
	store := &memoryStore{}
	hooks := d.hooks()
	hooks.Batch = func(b *augment.Batch) error {
		if trainer.Steps() == 2 {
			keys, cure = sampleKeys(b), poison(t, trainer, keyEncoder)
		}
		return nil
	}
	hooks.Discarded = func(samples []DiscardedSample) error {
		cure()
		var got []string
		for _, s := range samples {
			got = append(got, s.Key)
			if s.Step != 3 || !math.IsNaN(s.Loss) || s.LR != tiny().Schedule.Rate(2) || s.ID.Source == "" || fmt.Sprintf("img/%d", s.ID.Partition) != s.Key {
				t.Errorf("%+v", s)
			}
		}
		if !slices.Equal(got, keys) || len(keys) != 4 {
			t.Errorf("discarded are %v, want %v", got, keys)
		}
		d.note("discarded")
		return nil
	}
	loop := NewLoop(trainer, store, LoopOptions{Steps: 5}, hooks, nil, "")
	s, err := loop.Run(t.Context(), input{images: 10}.open(t))
	if err != nil || s.Samples != 20 || !finite(s.Loss) {
		t.Fatalf("%+v, %v", s, err)
	}
	d.expect(t, "step 1", "step 2", "discarded", "step 3", "step 4", "step 5", "seal 5", "saved step-000000005 5")
	if text := string(store.saved[0].Extra[discardsKey]); text != `{"total":1,"recent":[3]}` {
		t.Errorf("the checkpoint has the discards %s", text)
	}
}

// The images of the step that ends the run are handed over too; it is not reported, and nothing of it is saved.
func TestLoopEndsAtTheThirdDiscard(t *testing.T) {
	var d diary
	trainer := newTrainer(t, tiny())
	store := &memoryStore{}
	hooks := d.hooks()
	hooks.Discarded = func(samples []DiscardedSample) error { d.note("discarded %d", samples[0].Step); return nil }
	poison(t, trainer, keyEncoder)
	loop := NewLoop(trainer, store, LoopOptions{Steps: 50}, hooks, nil, "")
	_, err := loop.Run(t.Context(), input{images: 10}.open(t))
	if !errors.Is(err, ErrNotFinite) {
		t.Errorf("got %v", err)
	}
	d.expect(t, "discarded 1", "step 1", "discarded 2", "step 2", "discarded 3")
	if len(store.saved) > 0 {
		t.Errorf("checkpoints of steps %v", store.steps())
	}
}
