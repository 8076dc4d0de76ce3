package main

import (
	"path/filepath"
	"testing"
)

// At such a rate the first step leaves weights at which no loss is finite. The run ends at the third step that is
// discarded; the images of all three are recorded, and those of the two that have a checkpoint count as consumed.
func TestDivergedRunEnds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	args := tiny(dir, "ingest.dir="+images(t, 60, 1), "train.optimizer.lr=1e20", "train.schedule.name=constant",
		"sink.checkpoint_every=1", "sink.ledger=true")
	program(t, args...).want(t, exitFailed,
		"a step is discarded", "step 4: training diverged to numbers that are not finite: steps [2 3 4] were discarded",
		"lower train.optimizer.lr", "go on from the newest checkpoint")
	steps := map[float64]int{}
	keys := map[any]bool{}
	for _, line := range jsonLines(t, filepath.Join(dir, "discarded-steps.jsonl")) {
		steps[line["step"].(float64)]++
		keys[line["key"]] = true
	}
	if len(steps) != 3 || steps[2] != 8 || steps[3] != 8 || steps[4] != 8 || len(keys) != 24 {
		t.Errorf("recorded are %v, %d images; want 8 of each of steps 2, 3 and 4", steps, len(keys))
	}
	last := history(t, dir)[2]
	if last["step"] != 3.0 || last["discarded"] != true || last["samples"] != 24.0 {
		t.Errorf("the last line of the metrics is %v", last)
	}
	ledger := program(t, "ledger", "--checkpoint", dir, "--json").want(t, exitOK).object(t)
	if ledger["samples"] != 24.0 || ledger["last_step"] != 3.0 {
		t.Errorf("the ledger says %v", ledger)
	}
	// Gone on from the newest checkpoint, two discarded steps are on the record still.
	program(t, args...).want(t, exitFailed, "steps [2 3 4] were discarded")
}
