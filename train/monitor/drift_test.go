package monitor_test

import (
	"context"
	"math/rand/v2"
	"reflect"
	"testing"

	"mocostream/augment"
	"mocostream/internal/safetensors"
	"mocostream/train/drift"
	"mocostream/train/monitor"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

const (
	size  = 4  // pixels
	batch = 8  // images
	burst = 4  // of them are frames of one scene
	every = 20 // steps of a window
)

// scenes makes the batches of a stream in bursts: pixels scatter around the scene's own brightness in each channel, and
// scenes around level.
type scenes struct {
	rng    *rand.Rand
	offset int64
	visit  int64
	one    bool // all images are of one source
}

func (s *scenes) group() uint64 {
	if s.one {
		return 0
	}
	return uint64(s.offset / burst)
}

func (s *scenes) next(t *testing.T, level float64) *augment.Batch {
	t.Helper()
	rows := array.NewRecordBuilder(memory.NewGoAllocator(), augment.BatchSchema(size))
	defer rows.Release()
	var colour [3]float64
	for i := range batch {
		if i%burst == 0 {
			for c := range colour {
				colour[c] = 100 + 20*s.rng.NormFloat64()
			}
			colour[0] += level
		}
		for _, column := range []int{augment.ColQuery, augment.ColKeyView} {
			list := rows.Field(column).(*array.FixedSizeListBuilder)
			list.Append(true)
			for p := range size * size * 3 {
				list.ValueBuilder().(*array.Uint8Builder).Append(uint8(min(max(colour[p%3]+s.rng.NormFloat64(), 0), 255)))
			}
		}
		rows.Field(augment.ColSource).(*array.StringBuilder).Append("topic")
		rows.Field(augment.ColPartition).(*array.Int32Builder).Append(0)
		rows.Field(augment.ColOffset).(*array.Int64Builder).Append(s.offset)
		rows.Field(augment.ColItem).(*array.Int32Builder).Append(0)
		rows.Field(augment.ColKey).(*array.StringBuilder).Append("")
		rows.Field(augment.ColTime).AppendNull()
		rows.Field(augment.ColLabel).AppendNull()
		rows.Field(augment.ColHash).(*array.Uint64Builder).Append(0)
		rows.Field(augment.ColGroup).(*array.Uint64Builder).Append(s.group())
		rows.Field(augment.ColVisit).(*array.Int64Builder).Append(s.visit)
		rows.Field(augment.ColPosition).(*array.Uint64Builder).Append(uint64(s.offset))
		s.offset++
	}
	return &augment.Batch{Record: rows.NewRecord(), Size: size}
}

// mean embeds an image as its mean brightness in each channel, scaled by the encoder's one weight.
type mean struct {
	weight float32
	images *int
}

func (m mean) Embed(_ context.Context, pixels []byte) (features, _ []float32, err error) {
	for ; len(pixels) > 0; pixels = pixels[size*size*3:] {
		var sums [3]float32
		for p, v := range pixels[:size*size*3] {
			sums[p%3] += float32(v)
		}
		for _, v := range sums {
			features = append(features, m.weight*v)
		}
		*m.images++
	}
	return features, nil, nil
}

func (mean) Close() {}

// watched is a Drift over made batches.
type watched struct {
	*monitor.Drift
	options        monitor.DriftOptions
	scenes         scenes
	steps          int64
	frozen, images int // encoders taken, images embedded
}

func watch(seed uint64) *watched {
	w := &watched{scenes: scenes{rng: rand.New(rand.NewPCG(seed, 0))}}
	w.options = monitor.DriftOptions{
		Options: drift.Options{Reference: 2, Alpha: .001, Raise: 2, Clear: 2, Seed: seed},
		After:   5, Every: every, Images: 40, Frames: 2, Size: size,
		Freeze: func() ([]safetensors.Tensor, error) {
			w.frozen++
			return []safetensors.Tensor{safetensors.FromFloat32s("weight", []int{1}, []float32{float32(w.frozen)})}, nil
		},
		Open: func(weights []safetensors.Tensor) (monitor.Encoder, error) {
			x, err := safetensors.Float32s(weights[0])
			if err != nil {
				return nil, err
			}
			return mean{x[0], &w.images}, nil
		},
	}
	w.Drift = monitor.NewDrift(w.options)
	return w
}

// step does one; what it measured is nil except at the end of a window.
func (w *watched) step(t *testing.T, level float64) *monitor.Measured {
	t.Helper()
	b := w.scenes.next(t, level)
	if err := w.Batch(t.Context(), b, w.steps); err != nil {
		t.Fatal(err)
	}
	b.Record.Release()
	w.steps++
	m, err := w.Drift.Step(t.Context(), w.steps)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDriftRaisesTheAlarm(t *testing.T) {
	w := watch(1)
	const begins = 5 + 8*every
	for range begins {
		if m := w.step(t, 0); m != nil && len(m.Events) > 0 {
			t.Fatalf("step %d, without drift: %+v", w.steps, m)
		}
	}
	var told []monitor.Event
	for range 4 * every {
		if m := w.step(t, 120); m != nil {
			told = append(told, m.Events...)
			if r := m.Result; r == nil || r.Step != w.steps || r.PValue > .001 || r.Sources < 20 {
				t.Errorf("step %d: %+v", w.steps, r)
			}
		}
	}
	if len(told) != 1 || !told[0].Raised || told[0].Alarm != monitor.Shift || told[0].Step != begins+2*every {
		t.Errorf("told %+v, want one alarm two windows after step %d", told, begins)
	}
	if step, taken := w.Reference(); !taken || step != 5 || w.frozen != 1 {
		t.Errorf("the encoder is of step %d, taken %d times", step, w.frozen)
	}
	if want := 12 * 40; w.images != want {
		t.Errorf("%d images embedded in 12 windows, want %d", w.images, want)
	}
}

// Of one source a window holds few frames, however many come, and says that there is nothing to compare.
func TestDriftTakesFewFramesOfASource(t *testing.T) {
	w := watch(2)
	w.scenes.one = true
	var last *monitor.Measured
	for range 5 + 3*every {
		if m := w.step(t, 0); m != nil {
			last = m
		}
	}
	if w.images != 2 || last.Result != nil || last.TooFew != 1 {
		t.Errorf("%d images embedded of one source, which may give 2: %+v", w.images, last)
	}
}

// One camera that is always there shows one scene after the other: its images count as so many sources.
func TestDriftTellsScenesApart(t *testing.T) {
	w := watch(2)
	w.scenes.one, w.options.Scene = true, burst
	w.Drift = monitor.NewDrift(w.options)
	var last *monitor.Measured
	for range 5 + 3*every {
		if m := w.step(t, 0); m != nil {
			last = m
		}
	}
	if last.Result == nil || last.Result.Sources != 2*every {
		t.Errorf("%+v, want %d scenes in a window", last, 2*every)
	}
}

// What a buffer gives again is none of what comes in.
func TestDriftLooksAtWhatIsNew(t *testing.T) {
	w := watch(2)
	w.scenes.visit = 1
	for range 5 + every {
		w.step(t, 0)
	}
	if w.images != 0 {
		t.Errorf("%d images of the buffer embedded", w.images)
	}
}

// A run that is killed and resumed after any step measures the same.
func TestDriftGoesOnFromItsState(t *testing.T) {
	run := func(resumed bool) (all []monitor.Measured, images int) {
		w := watch(3)
		for i := range 5 + 10*every {
			level := 0.
			if i > 120 {
				level = 100
			}
			if m := w.step(t, level); m != nil {
				all = append(all, *m)
			}
			if !resumed {
				continue
			}
			state, tensors := w.State()
			w.Close()
			var err error
			if w.Drift, err = monitor.RestoreDrift(w.options, state, tensors); err != nil {
				t.Fatal(err)
			}
		}
		return all, w.images
	}
	whole, n := run(false)
	pieces, m := run(true)
	if len(whole) != 10 || !reflect.DeepEqual(whole, pieces) || n != m {
		t.Errorf("in one go (%d images):\n%+v\nin pieces (%d):\n%+v", n, whole, m, pieces)
	}
}

func TestDriftIsRebased(t *testing.T) {
	w := watch(4)
	for range 5 + 5*every/2 {
		w.step(t, 0)
	}
	w.Rebase()
	if _, taken := w.Reference(); taken {
		t.Error("a reference is left")
	}
	for range 5 * every {
		if m := w.step(t, 150); m != nil && len(m.Events) > 0 {
			t.Errorf("against the new reference: %+v", m)
		}
	}
	if step, taken := w.Reference(); !taken || step != 5+5*every/2 || w.frozen != 2 {
		t.Errorf("the encoder is of step %d, taken %d times", step, w.frozen)
	}
}

func TestDriftOfOtherImagesIsNotRestored(t *testing.T) {
	w := watch(5)
	for range 30 {
		w.step(t, 0)
	}
	state, tensors := w.State()
	o := w.options
	o.Size = 2 * size
	if _, err := monitor.RestoreDrift(o, state, tensors); err == nil {
		t.Error("a window of views of another size is gone on with")
	}
	if _, err := monitor.RestoreDrift(w.options, state, tensors[:2]); err == nil {
		t.Error("a window without its images is gone on with")
	}
}
