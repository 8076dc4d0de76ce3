package train

import (
	"strings"
	"testing"

	"mocostream/internal/pjrtjax"
)

func TestStableHLONeedsXLA(t *testing.T) {
	trainer, err := New(goBackend(t), tiny())
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	if _, err := trainer.StableHLO(); err == nil || !strings.Contains(err.Error(), "doctor --install") {
		t.Errorf("got %v", err)
	}
}

// TestXLAStableHLO asks a trainer for its program: it is what the plugin got, whole.
func TestXLAStableHLO(t *testing.T) {
	dir := t.TempDir()
	backend, err := OpenBackend(pjrtjax.Config(t, pjrtjax.Options{Dump: dir}))
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	o := tiny()
	trainer, err := New(backend, o)
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	got, err := trainer.StableHLO()
	if err != nil {
		t.Fatal(err)
	}
	if want := pjrtjax.Programs(t, dir)[1].StableHLO; strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("%d bytes, the plugin was given %d", len(got), len(want))
	}
	noiseSteps(t, trainer, 1) // the step is compiled and runs
}
