package train

import (
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"mocostream/augment"
	"mocostream/internal/pjrtjax"
)

// xlaBackend opens an XLA backend with so many devices: the one that MOCOSTREAM_XLA_BACKEND configures, a GPU's say, or else
// jaxlib's through the plugin of make integration, which needs no GPU. Without either the test is skipped. make integration
// runs the tests whose name begins with TestXLA.
func xlaBackend(t testing.TB, devices int) *Backend {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestXLA") {
		t.Fatal("a test on XLA is called TestXLA..., or make integration does not run it")
	}
	config := os.Getenv("MOCOSTREAM_XLA_BACKEND")
	if config == "" {
		config = pjrtjax.Config(t, pjrtjax.Options{Devices: devices})
	}
	b, err := OpenBackend(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Finalize)
	if n := b.NumDevices(); n < devices {
		t.Skipf("%s has %d devices, this takes %d", config, n, devices)
	}
	return b
}

// noiseSteps takes n steps, on views drawn from the step's number, and returns the results.
func noiseSteps(t *testing.T, trainer *Trainer, n int) []StepResult {
	t.Helper()
	results := make([]StepResult, n)
	for i := range results {
		r, err := trainer.Step(t.Context(), noiseBatch(t, trainer.Options(), uint64(trainer.Steps())))
		if err != nil {
			t.Fatal(err)
		}
		results[i] = r
	}
	return results
}

// noiseBatch is a batch of coarse coloured patches; the two views of an image are alike.
func noiseBatch(t *testing.T, o Options, seed uint64) augment.Batch {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	query := make([]byte, o.Batch*o.Size*o.Size*3)
	key := make([]byte, len(query))
	for i := range query {
		if i%16 == 0 || i < 3 {
			query[i] = byte(rng.Uint32())
		} else {
			query[i] = query[i-3]/2 + query[i-1]/2
		}
		key[i] = query[i] ^ byte(rng.Uint32()&15)
	}
	b, err := augment.NewBatch(o.Size, query, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A step in parts comes to the same on XLA as on the Go backend: the barrier between parts computes.
func TestXLAStepInParts(t *testing.T) {
	o := smooth(MoCo)
	o.Accumulate, o.Groups = 2, 2
	o.Schedule.Base = .01
	var results [2][]StepResult
	for i, backend := range []*Backend{goBackend(t), xlaBackend(t, 1)} {
		trainer, err := New(backend, o)
		if err != nil {
			t.Fatal(err)
		}
		results[i] = noiseSteps(t, trainer, 3)
		trainer.Close()
	}
	for i, want := range results[0] {
		got := results[1][i]
		if math.Abs(got.Loss-want.Loss) > 1e-4 || math.Abs(got.GradNorm/want.GradNorm-1) > 1e-3 || math.Abs(got.Negative-want.Negative) > 1e-4 {
			t.Errorf("step %d: %+v, on the Go backend %+v", i+1, got, want)
		}
	}
}
