package train

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestManyStepsEnd guards against a backend whose workers wait for each other: the Go backend's default configuration did,
// above all with several BatchNorm groups. Only a deadline can tell; the steps themselves take seconds.
// MOCOSTREAM_HANG_STEPS asks for another number of steps.
func TestManyStepsEnd(t *testing.T) {
	const limit = 5 * time.Minute
	count := 200
	if asked, err := strconv.Atoi(os.Getenv("MOCOSTREAM_HANG_STEPS")); err == nil {
		count = asked
	}
	for _, groups := range []int{1, 2, 4, 8} {
		t.Run(fmt.Sprintf("groups=%d", groups), func(t *testing.T) {
			o := tiny()
			o.Groups, o.Encoder.Head = groups, "linear"
			o.Batch, o.K = max(o.Batch, groups), max(o.K, groups)
			trainer := newTrainer(t, o)
			batches := input{images: 10, batch: o.Batch}.open(t)
			ended := make(chan error, 1)
			go func() {
				for range count {
					if _, err := trainer.Step(t.Context(), <-batches); err != nil {
						ended <- err
						return
					}
				}
				ended <- nil
			}()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(limit):
				stacks := make([]byte, 1<<20)
				panic(fmt.Sprintf("%d of %d steps after %v; the program hangs:\n%s", trainer.Steps(), count, limit, stacks[:runtime.Stack(stacks, true)]))
			}
		})
	}
}

// TestStepsAllocateNoMore takes windows of steps: what a step allocates is not to grow with their number.
func TestStepsAllocateNoMore(t *testing.T) {
	const window = 60
	o := tiny()
	o.Encoder.Head = "linear"
	trainer := newTrainer(t, o)
	batches := input{images: 10}.open(t)
	allocated := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range window {
			if _, err := trainer.Step(t.Context(), <-batches); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	allocated() // fills the backend's pools
	first := allocated()
	allocated()
	if last := allocated(); last > first+first/4 {
		t.Errorf("%d steps allocated %d bytes, then as many %d", window, first, last)
	}
}
