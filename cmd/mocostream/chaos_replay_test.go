//go:build integration

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"mocostream/internal/failpoint"
	"mocostream/loader"
)

// Every sample of a topic goes into the replay buffer exactly once, and the run ends in the bits of one that nobody
// disturbed, although the process dies at every failpoint and at ten moments besides (CHAOS_KILLS: as many as that).
func TestKillReplay(t *testing.T) {
	rng, kills := seeded(t), 10
	if text := os.Getenv("CHAOS_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("CHAOS_KILLS: %v", err)
		}
	}
	steps := 60 + 6*kills
	f := newTopicFeed(t, 4, nil)
	f.produce(t, steps*chaosBatch, 0, 4)
	sets := append(f.sets(), "ingest.kafka.merge=deterministic", "ingest.source=partition", "loader.replay.policy=balanced", "loader.replay.size=700",
		"loader.replay.updates_per_sample=1.5", "loader.replay.fresh=0.3", "sink.publish.every=5", "sink.publish.min_spread=0")
	whole := newVictim(t, rng, "daemon", steps, sets...)
	whole.finish()
	v := newVictim(t, rng, "daemon", steps, sets...)
	v.dieEverywhere(slices.DeleteFunc(failpoint.Names(), ofManifests), kills)
	v.checkReplay(steps)
	step := fmt.Sprintf("step-%09d", steps)
	for _, name := range []string{"model.safetensors", "optimizer.safetensors", loader.ReplayFile, loader.SegmentName(0)} {
		if !bytes.Equal(read(t, filepath.Join(whole.dir, step, name)), read(t, filepath.Join(v.dir, step, name))) {
			t.Errorf("%s is not that of the run that nobody disturbed", name)
		}
	}
	if got, want := v.newest().Token, whole.newest().Token; !reflect.DeepEqual(got, want) {
		t.Errorf("the token is %+v, that of the run that nobody disturbed %+v", got, want)
	}
	t.Logf("kills=%d", v.kills)
}

// checkReplay reads the ledger of a run with a buffer, and the counts of what went into it.
func (v *victim) checkReplay(steps int) {
	v.t.Helper()
	c := v.newest()
	report, err := checkLedger(v.t.Context(), v.dir, c)
	if err != nil {
		v.t.Fatal(err)
	}
	admitted := int64(4*chaosBatch + (steps*chaosBatch-1)*2/3)
	if !report.Exact() || report.Samples != int64(steps*chaosBatch) || report.Admitted != admitted {
		v.t.Errorf("the ledger shows %+v, want %d draws from %d samples", report, steps*chaosBatch, admitted)
	}
	v.checkCounts(c, admitted)
}
