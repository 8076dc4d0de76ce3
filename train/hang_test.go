package train

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// TestManyStepsEnd guards against a backend whose workers wait for each other: the Go backend's default configuration did,
// above all with several BatchNorm groups. Only a deadline can tell; the steps themselves take seconds.
func TestManyStepsEnd(t *testing.T) {
	const count, limit = 200, 5 * time.Minute
	for _, groups := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("groups=%d", groups), func(t *testing.T) {
			o := tiny()
			o.Groups, o.Encoder.Head = groups, "linear"
			trainer := newTrainer(t, o)
			batches := input{images: 10}.open(t)
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
