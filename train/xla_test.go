package train

import (
	"math/rand/v2"
	"os"
	"testing"

	"mocostream/augment"
)

// xlaBackend opens the XLA backend that MOCOSTREAM_XLA_BACKEND configures (scripts/xla_cpu.sh makes one of jaxlib that
// needs no GPU), with at least so many devices. Without one the test is skipped, or fails if MOCOSTREAM_REQUIRE_XLA is
// set, as CI does.
func xlaBackend(t testing.TB, devices int) *Backend {
	t.Helper()
	config := os.Getenv("MOCOSTREAM_XLA_BACKEND")
	if config == "" {
		if os.Getenv("MOCOSTREAM_REQUIRE_XLA") != "" {
			t.Fatal("MOCOSTREAM_XLA_BACKEND is not set, and MOCOSTREAM_REQUIRE_XLA is; make integration sets both")
		}
		t.Skip("MOCOSTREAM_XLA_BACKEND is not set; make integration sets it")
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

// noiseSteps takes n steps on views drawn from the step's number and returns the results.
func noiseSteps(t *testing.T, trainer *Trainer, n int) []StepResult {
	t.Helper()
	results := make([]StepResult, n)
	for i := range results {
		r, err := trainer.Step(t.Context(), noiseBatch(t, trainer.Options(), uint64(i)))
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
