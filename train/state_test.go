package train

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/internal/safetensors"
	"mocostream/loader"
)

func optimizers() map[string]Options {
	return map[string]Options{"sgd": tiny(), "lars": tinyLARS(), "adamw": tinyAdamW()}
}

func TestStateHoldsEverythingByName(t *testing.T) {
	for name, o := range optimizers() {
		t.Run(name, func(t *testing.T) {
			trainer := newTrainer(t, o)
			steps(t, trainer, input{images: 10}.open(t), 2)
			c := checkpointOf(t, trainer)
			want := map[string][]int{"queue": {8, 6}, "queue_ptr": {1}}
			slots := map[string][]string{"sgd": {"momentum_buffer"}, "lars": {"mu"}, "adamw": {"exp_avg", "exp_avg_sq"}}[name]
			wantOptimizer := map[string][]int{}
			for _, p := range o.Encoder.Parameters() {
				for _, encoder := range []string{"encoder_q.", "encoder_k."} {
					want[encoder+p.Name] = p.Shape
					if base, ok := strings.CutSuffix(p.Name, "running_var"); ok {
						want[encoder+base+"num_batches_tracked"] = []int{}
					}
				}
				for _, slot := range slots {
					if p.Trainable() {
						wantOptimizer[slot+".encoder_q."+p.Name] = p.Shape
					}
				}
			}
			sameShapes(t, c.Model, want)
			sameShapes(t, c.Optimizer, wantOptimizer)
			for name, want := range map[string]int64{"queue_ptr": 2 * 4 % 6, "encoder_q.bn1.num_batches_tracked": 2} {
				if got, err := safetensors.Int64s(byName(c.Model)[name]); err != nil || len(got) != 1 || got[0] != want {
					t.Errorf("%s is %v (%v), want %d", name, got, err, want)
				}
			}
		})
	}
}

func sameShapes(t *testing.T, got []safetensors.Tensor, want map[string][]int) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d tensors, want %d", len(got), len(want))
	}
	for _, tensor := range got {
		shape, ok := want[tensor.Name]
		if !ok || !slices.Equal(tensor.Shape, shape) {
			t.Errorf("tensor %s %v, want %v (known: %v)", tensor.Name, tensor.Shape, shape, ok)
		}
	}
}

// A column of the stored queue is a key: facebookresearch/moco's [dim, K].
func TestStoredQueueIsTransposed(t *testing.T) {
	trainer := newTrainer(t, tiny())
	rows, err := trainer.floats(queueName)
	if err != nil {
		t.Fatal(err)
	}
	stored := tensorValues(t, checkpointOf(t, trainer).Model, "queue")
	for k := range 6 {
		var length float64
		for d := range 8 {
			if stored[d*6+k] != rows[k*8+d] {
				t.Fatalf("stored[%d, %d] is %v, want %v", d, k, stored[d*6+k], rows[k*8+d])
			}
			length += float64(stored[d*6+k]) * float64(stored[d*6+k])
		}
		if math.Abs(length-1) > 1e-6 {
			t.Errorf("key %d has length %v before any step, want 1", k, math.Sqrt(length))
		}
	}
}

// A restored trainer holds the same bits, whatever it held before, and goes on to the same bits.
func TestRestoreIsExact(t *testing.T) {
	for name, o := range optimizers() {
		t.Run(name, func(t *testing.T) {
			whole := newTrainer(t, o)
			batches := input{images: 10}.open(t)
			steps(t, whole, batches, 3)
			c := checkpointOf(t, whole)
			steps(t, whole, batches, 4)
			want := checkpointOf(t, whole)

			// The batches go on behind the third: twelve samples are the first epoch of ten and two of the next.
			rest := func(t *testing.T) input { return input{images: 10, workers: 2, start: tokenAfter(t, 3)} }
			fresh := o
			fresh.Seed++ // another start
			other := newTrainer(t, fresh)
			if err := other.Restore(c); err != nil {
				t.Fatal(err)
			}
			sameState(t, "restored over another start", checkpointOf(t, other), c)

			again := newTrainer(t, o)
			if err := again.Restore(c); err != nil {
				t.Fatal(err)
			}
			steps(t, again, rest(t).open(t), 4)
			sameState(t, "gone on in a fresh trainer", checkpointOf(t, again), want)

			if err := again.Restore(c); err != nil {
				t.Fatal(err)
			}
			sameState(t, "restored after steps", checkpointOf(t, again), c)
			steps(t, again, rest(t).open(t), 4)
			sameState(t, "gone on in a used trainer", checkpointOf(t, again), want)
		})
	}
}

// tokenAfter is the token of batch n of a source of ten images, as JSON has kept it.
func tokenAfter(t *testing.T, n int) (token loader.Token) {
	t.Helper()
	batches := input{images: 10}.open(t)
	for range n {
		b := <-batches
		token = b.Token
		b.Release()
	}
	text, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	var kept loader.Token
	if err := json.Unmarshal(text, &kept); err != nil {
		t.Fatal(err)
	}
	if want := (ingest.Position{Source: token.Progress.Bounded.Source, Epoch: 1, Index: 2}); n == 3 && *kept.Progress.Bounded != want {
		t.Errorf("token %+v, want %+v", *kept.Progress.Bounded, want)
	}
	return kept
}

// edit changes one tensor of a checkpoint.
func edit(c *Checkpoint, name string, change func(*safetensors.Tensor)) {
	for _, list := range [][]safetensors.Tensor{c.Model, c.Optimizer} {
		for i := range list {
			if list[i].Name == name {
				change(&list[i])
			}
		}
	}
}

func TestRestoreNamesWhatIsWrong(t *testing.T) {
	rename := func(s *safetensors.Tensor) { s.Name = "gone" }
	pointer := func(at int64) func(*safetensors.Tensor) {
		return func(s *safetensors.Tensor) { *s = safetensors.FromInt64s(s.Name, s.Shape, []int64{at}) }
	}
	for _, c := range []struct {
		tensor string
		change func(*safetensors.Tensor)
		want   string
	}{
		{"encoder_q.conv1.weight", rename, "checkpoint: tensor encoder_q.conv1.weight is missing"},
		{"encoder_k.layer4.0.bn2.running_var", rename, "checkpoint: tensor encoder_k.layer4.0.bn2.running_var is missing"},
		{"momentum_buffer.encoder_q.fc.2.bias", rename, "checkpoint: tensor momentum_buffer.encoder_q.fc.2.bias is missing"},
		{"queue", rename, "checkpoint: tensor queue is missing"},
		{"queue_ptr", rename, "checkpoint: queue_ptr is missing or outside the queue of 6 keys"},
		{
			"encoder_k.fc.0.weight", func(s *safetensors.Tensor) { s.Shape = []int{64, 16} },
			"checkpoint: tensor encoder_k.fc.0.weight has shape [64 16], expected [32 32]",
		},
		{
			"queue", func(s *safetensors.Tensor) { s.Shape = []int{6, 8} },
			"checkpoint: tensor queue has shape [6 8], expected [8 6]",
		},
		{"queue_ptr", pointer(6), "checkpoint: queue_ptr is missing or outside the queue of 6 keys"},
		{"queue_ptr", pointer(-1), "checkpoint: queue_ptr is missing or outside the queue of 6 keys"},
		{"queue_ptr", pointer(1 << 32), "checkpoint: queue_ptr is missing or outside the queue of 6 keys"},
	} {
		trainer := newTrainer(t, tiny())
		checkpoint := checkpointOf(t, trainer)
		edit(checkpoint, c.tensor, c.change)
		if err := trainer.Restore(checkpoint); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestRestoreRefusesTensorsOfAnotherKind(t *testing.T) {
	trainer := newTrainer(t, tiny())
	c := checkpointOf(t, trainer)
	edit(c, "encoder_q.bn1.bias", func(s *safetensors.Tensor) { *s = safetensors.FromInt64s(s.Name, s.Shape, make([]int64, 4)) })
	if err := trainer.Restore(c); err == nil || !strings.Contains(err.Error(), "encoder_q.bn1.bias") {
		t.Errorf("got %v, want the tensor's name", err)
	}
}

func TestRestoreRefusesAnotherRun(t *testing.T) {
	trainer := newTrainer(t, tiny())
	c := checkpointOf(t, trainer)
	c.Encoder.Arch, c.Encoder.Head = "resnet18", "linear"
	err := trainer.Restore(c)
	const want = "checkpoint holds a resnet18 (width 4, cifar stem, linear head, dim 8, relu), the configuration asks for a " +
		"resnet10 (width 4, cifar stem, mlp head, dim 8, relu); change train.arch"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	adamw := newTrainer(t, tinyAdamW())
	if err := adamw.Restore(checkpointOf(t, trainer)); err == nil || !strings.Contains(err.Error(), "exp_avg.encoder_q.conv1.weight is missing") {
		t.Errorf("got %v, want the optimizer's tensor named", err)
	}
}
