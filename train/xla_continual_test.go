package train

import (
	"math"
	"slices"
	"testing"
)

// TestXLAContinual masks and aligns on XLA, on one device and on two, where queue and tags are updated in place: steps come
// to what the Go backend makes of them, and the queue is of the same samples.
func TestXLAContinual(t *testing.T) {
	o := aligned(overDevices(1))
	o.Mask, o.Duplicate, o.WarmMasked, o.Align.Replayed, o.Schedule.Base = MaskDuplicate, 3, true, true, .01
	xla := xlaBackend(t, 2)
	var want []StepResult
	var held []int64
	for devices, backend := range []*Backend{goBackend(t), xla, xla} {
		o := o
		o.Devices = max(devices, 1)
		trainer := onXLA(t, backend, o)
		for step := range 4 { // the queue is of two batches
			got, err := trainer.Step(t.Context(), ofBursts(t, o, step))
			if err != nil {
				t.Fatal(err)
			}
			if devices == 0 {
				want = append(want, got)
				continue
			}
			if w := want[step]; math.Abs(got.Loss-w.Loss) > 1e-4 || math.Abs(got.Apart-w.Apart) > 1e-4 || math.Abs(got.GradNorm/w.GradNorm-1) > 1e-3 ||
				math.Abs(got.Masked-w.Masked) > 1e-6 || math.Abs(got.QueueLag-w.QueueLag) > 1e-3 {
				t.Errorf("%d devices, step %d: %+v, on the Go backend %+v", devices, step+1, got, w)
			}
		}
		tags := tagsHeld(t, trainer)
		if devices == 0 {
			held = tags
		}
		if !slices.Equal(tags, held) {
			t.Errorf("%d devices: the queue's tags are not those of the Go backend", devices)
		}
	}
}
