//go:build integration

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"mocostream/internal/failpoint"
	"mocostream/internal/s3server"
)

// numberedImages is the size of the set of TestKill: 313 batches.
const numberedImages = 313 * chaosBatch

// Every image of a topic of four partitions, and of the same set as shards, is trained on exactly once, although the
// process dies at every failpoint and at twenty moments besides.
func TestKill(t *testing.T) {
	rng := seeded(t)
	t.Run("topic", func(t *testing.T) {
		f := newTopicFeed(t, 4, nil)
		f.produce(t, numberedImages, 0, 4)
		v := newVictim(t, rng, "daemon", numberedImages/chaosBatch, append(f.sets(),
			"sink.publish.every=5", "sink.publish.min_spread=0")...)
		v.dieEverywhere(slices.DeleteFunc(failpoint.Names(), ofManifests), 10)
		t.Log(v.check(numberedImages))
	})
	t.Run("shards", func(t *testing.T) {
		f := newBucketFeed(t, s3server.Options{AccessKey: "key"})
		f.shards(t, numberedImages, 1000)
		v := newVictim(t, rng, "train", numberedImages/chaosBatch, append(f.sets(), f.checkpoints()...)...)
		v.bucket = f
		v.dieEverywhere([]string{
			failpoint.Fetch, failpoint.Batch, failpoint.StepBefore, failpoint.StepAfter, failpoint.CheckpointFileBefore,
			failpoint.CheckpointFileAfter, failpoint.CheckpointManifestBefore, failpoint.CheckpointManifestAfter,
		}, 10)
		t.Log(v.check(numberedImages))
	})
}

// ofManifests are the failpoints that only checkpoints in a bucket have.
func ofManifests(name string) bool {
	return name == failpoint.CheckpointManifestBefore || name == failpoint.CheckpointManifestAfter
}

// dieEverywhere kills at each failpoint and at random moments, and lets the run reach its end.
func (v *victim) dieEverywhere(failpoints []string, random int) {
	v.t.Helper()
	for _, name := range failpoints {
		v.killAt(name, 1+v.rng.IntN(2))
	}
	v.dieOften(random)
	v.finish()
	for _, name := range failpoints {
		if !v.hit[name] {
			v.t.Errorf("no process died at %s", name)
		}
	}
}

// dieOften kills at random moments.
func (v *victim) dieOften(n int) {
	v.t.Helper()
	for i := range n {
		if i%4 == 3 {
			v.killEarly()
		} else {
			v.killSoon()
		}
	}
}

// TestTrouble is each kind of trouble once.
func TestTrouble(t *testing.T) {
	rng := seeded(t)
	for _, r := range troubles() {
		t.Run(r.name, func(t *testing.T) { t.Log(r.run(t, rng, 4)) })
	}
}

// TestChaos goes through every kind of trouble again and again for CHAOS_SECONDS, and prints what it came to.
func TestChaos(t *testing.T) {
	text := os.Getenv("CHAOS_SECONDS")
	if text == "" {
		t.Skip("CHAOS_SECONDS is not set; make chaos sets it")
	}
	seconds, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CHAOS_SECONDS: %v", err)
	}
	rng, deadline, sum := seeded(t), time.Now().Add(time.Duration(seconds)*time.Second), tally{}
	for n := 0; n == 0 || time.Now().Before(deadline) && !t.Failed(); n++ {
		r := troubles()[n%len(troubles())]
		t.Run(r.name, func(t *testing.T) { sum.add(r.run(t, rng, 12)) })
		fmt.Printf("%s; so far %v\n", r.name, sum)
	}
	fmt.Println(sum)
}

// seeded is a source of chance whose seed is printed; CHAOS_SEED repeats it.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	fmt.Printf("CHAOS_SEED=%d\n", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
