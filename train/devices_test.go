package train

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/safetensors"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

func TestDevicesAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"go:parallelism=-1 has 1; lower train.devices: the Go backend": func(o *Options) { o.Devices = 2 },
		"2 BatchNorm groups are no multiple of 4 devices":              func(o *Options) { o.Devices = 4 },
		"3 devices cannot share a batch of 4 evenly":                   func(o *Options) { o.Devices = 3 },
		"-1 devices; use at least 1":                                   func(o *Options) { o.Devices = -1 },
		`unknown batch normalisation "layer"`:                          func(o *Options) { o.BN = "layer" },
	} {
		o := tiny()
		change(&o)
		trainer, err := New(goBackend(t), o)
		if err == nil {
			trainer.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// With groups 2 the kinds of BatchNorm are three different things; on one device plain is sync, and is what one group is.
func TestBatchNormKinds(t *testing.T) {
	loss := func(change func(*Options)) float64 {
		o := tiny()
		change(&o)
		return noiseSteps(t, newTrainer(t, o), 1)[0].Loss
	}
	groups := loss(func(o *Options) { o.BN = BNGroups })
	one := loss(func(o *Options) { o.Groups = 1 })
	if plain := loss(func(o *Options) { o.BN = BNPlain }); plain != one {
		t.Errorf("plain: loss %v, in one group %v", plain, one)
	}
	if sync := loss(func(o *Options) { o.BN = BNSync }); sync != one || sync == groups {
		t.Errorf("sync: loss %v, in one group %v, in two %v", sync, one, groups)
	}
}

// Device i has the i-th share of the batch, or of each of its parts.
func TestDevicesShareViews(t *testing.T) {
	d := devices{n: 2}
	pixels := []byte{0, 1, 2, 3, 4, 5, 6, 7}
	for _, c := range []struct {
		shape []int
		want  [2]string
	}{
		{[]int{8, 1, 1, 1}, [2]string{"[0 1 2 3]", "[4 5 6 7]"}},
		{[]int{2, 4, 1, 1, 1}, [2]string{"[0 1 4 5]", "[2 3 6 7]"}},
		{[]int{4, 2, 1, 1, 1}, [2]string{"[0 2 4 6]", "[1 3 5 7]"}},
	} {
		for i, want := range c.want {
			if got := fmt.Sprint(d.share(shapes.Make(dtypes.Uint8, c.shape...), pixels, i)); got != want {
				t.Errorf("%v: device %d has %s, want %s", c.shape, i, got, want)
			}
		}
	}
}

// overDevices is a step that 8 devices can share, smooth so that rounding stays rounding over steps.
func overDevices(devices int) Options {
	o := tiny()
	o.Encoder.Activation = "silu"
	o.Size, o.Batch, o.K, o.Groups, o.Devices = 16, 32, 64, 8, devices
	return o
}

// TestXLADevices takes two steps on 2 devices, goes on from their checkpoint for two on 8, and from theirs for one on 1. At
// each hand-over all that a checkpoint holds is, to rounding, what one device alone comes to.
func TestXLADevices(t *testing.T) {
	backend := xlaBackend(t, 8)
	alone := onXLA(t, backend, overDevices(1))
	noiseSteps(t, alone, 2)
	two := onXLA(t, backend, overDevices(2))
	noiseSteps(t, two, 2)
	closeState(t, "2 devices", two, alone)

	eight := onXLA(t, backend, overDevices(8))
	handOver(t, two, eight)
	noiseSteps(t, eight, 2)
	noiseSteps(t, alone, 2)
	closeState(t, "8 devices", eight, alone)

	handOver(t, eight, two)
	noiseSteps(t, two, 1)
	noiseSteps(t, alone, 1)
	closeState(t, "2 devices again", two, alone)
}

// TestXLASyncBatchNorm normalises the whole batch at once on 2 devices.
func TestXLASyncBatchNorm(t *testing.T) {
	backend := xlaBackend(t, 2)
	var trainers [2]*Trainer
	for i := range trainers {
		o := overDevices(i + 1)
		o.BN = BNSync
		trainers[i] = onXLA(t, backend, o)
		noiseSteps(t, trainers[i], 1)
	}
	closeState(t, "sync on 2 devices", trainers[1], trainers[0])
}

func onXLA(t *testing.T, backend *Backend, o Options) *Trainer {
	t.Helper()
	trainer, err := New(backend, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(trainer.Close)
	return trainer
}

// handOver has to go on from a checkpoint of from.
func handOver(t *testing.T, from, to *Trainer) {
	t.Helper()
	c := Checkpoint{Encoder: from.Options().Encoder, Step: from.Steps()}
	var err error
	if c.Model, c.Optimizer, err = from.State(); err != nil {
		t.Fatal(err)
	}
	if err := to.Restore(&c); err != nil {
		t.Fatal(err)
	}
}

// closeState asks that two trainers' checkpoints agree to rounding.
func closeState(t *testing.T, what string, got, want *Trainer) {
	t.Helper()
	var lists [2][]safetensors.Tensor
	for i, trainer := range []*Trainer{got, want} {
		weights, optimizer, err := trainer.State()
		if err != nil {
			t.Fatal(err)
		}
		lists[i] = slices.Concat(weights, optimizer)
	}
	if name, e := largestError(t, lists[0], lists[1]); !(e <= 2e-5) {
		t.Errorf("%s: %s differs by %.2g of its largest value", what, name, e)
	} else {
		t.Logf("%s: at most %.2g of the largest value, in %s", what, e, name)
	}
}

// TestXLACollectives counts what the devices exchange in a step: the key views (an all-reduce of the whole batch, for the
// shuffle), everything that is summed up (one all-reduce of gradients, statistics and figures), and the new keys (an
// all-gather).
func TestXLACollectives(t *testing.T) {
	for _, n := range []int{2, 8} {
		program, programs := compiledStep(t, overDevices(n), n)
		count := map[string]int{}
		for _, match := range collective.FindAllStringSubmatch(program.HLO, -1) {
			count[match[1]]++
			t.Logf("%d devices: %.200s", n, match[0])
		}
		if programs != 1 || len(count) != 2 || count["all-reduce"] != 2 || count["all-gather"] != 1 {
			t.Errorf("%d devices: %v in %d programs, want 2 all-reduces and 1 all-gather in one", n, count, programs)
		}
	}
}

var collective = regexp.MustCompile(`(?m)^.* (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast)(?:-start)?\(.*$`)

// largestError compares tensor by tensor and returns the largest difference in units of the tensor's largest value.
func largestError(t *testing.T, got, want []safetensors.Tensor) (name string, largest float64) {
	t.Helper()
	have := byName(got)
	for _, tensor := range want {
		if tensor.DType != "F32" {
			continue
		}
		a, err := safetensors.Float32s(have[tensor.Name])
		if err != nil {
			t.Fatalf("%s: %v", tensor.Name, err)
		}
		b, err := safetensors.Float32s(tensor)
		if err != nil || len(a) != len(b) {
			t.Fatalf("%s: %d values, want %d (%v)", tensor.Name, len(a), len(b), err)
		}
		var diff, scale float64
		for i := range b {
			diff = math.Max(diff, math.Abs(float64(a[i]-b[i])))
			scale = math.Max(scale, math.Abs(float64(b[i])))
		}
		if e := diff / math.Max(scale, 1e-30); e > largest || math.IsNaN(e) {
			name, largest = tensor.Name, e
		}
	}
	return name, largest
}
