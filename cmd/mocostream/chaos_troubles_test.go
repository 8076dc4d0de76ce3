//go:build integration

package main

import (
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"mocostream/internal/failpoint"
	"mocostream/internal/s3server"
)

// trouble is a run that something happens to besides being killed.
type trouble struct {
	name string
	run  func(t *testing.T, rng *rand.Rand, kills int) tally
}

func troubles() []trouble {
	return []trouble{
		{"killed", killedTopic},
		{"failpoints at random", randomFailpoints},
		{"partitions added", partitionsAdded},
		{"transactions aborted", transactionsAborted},
		{"topic truncated", topicTruncated},
		{"topic compacted", topicCompacted},
		{"bad store", badStore},
		{"prefix followed", prefixFollowed},
		{"hot spares", hotSpares},
		{"leader stopped", leaderStopped},
	}
}

// imagesFor is a set that lasts for so many kills.
func imagesFor(kills int) int { return (30 + 6*kills) * chaosBatch }

func killedTopic(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	f := newTopicFeed(t, 4, nil)
	f.produce(t, n, 0, 4)
	v := newVictim(t, rng, "daemon", n/chaosBatch, f.sets()...)
	v.dieOften(kills)
	v.finish()
	return v.check(int64(n))
}

func randomFailpoints(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	v := newVictim(t, rng, "train", n/chaosBatch, folderFeed(t, n)...)
	for range kills {
		names := failpoint.Names()
		v.killAt(names[rng.IntN(len(names))], 1+rng.IntN(4))
	}
	v.finish()
	return v.check(int64(n))
}

func partitionsAdded(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	f := newTopicFeed(t, 4, nil)
	f.produce(t, n/2, 0, 4)
	v := newVictim(t, rng, "daemon", n/chaosBatch, f.sets()...)
	v.dieOften(kills / 2)
	p := v.start()
	v.await(p, 2)
	f.widen(t, 6)
	f.produce(t, n-n/2, 4, 6)
	v.await(p, 3)
	_ = p.cmd.Process.Kill()
	v.ended(p)
	v.dieOften(kills / 2)
	v.finish()
	return v.check(int64(n))
}

func transactionsAborted(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	f := newTopicFeed(t, 4, nil)
	for part := range 8 {
		f.produce(t, n/16, 0, 4)
		f.transact(t, 40+part, 4, false)
		f.transact(t, n/8-n/16, 4, true)
	}
	f.produce(t, n-8*(n/8), 0, 4)
	v := newVictim(t, rng, "daemon", n/chaosBatch, f.sets()...)
	v.dieOften(kills)
	v.finish()
	sum := v.check(int64(n))
	if sum.passed < 8*40 {
		t.Errorf("%d offsets are passed over, fewer than were aborted", sum.passed)
	}
	return sum
}

// topicTruncated loses records that were not read yet: they are skipped and counted, and everything else is exact.
func topicTruncated(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	f := newTopicFeed(t, 4, nil)
	f.produce(t, n+n/2, 0, 4)
	v := newVictim(t, rng, "daemon", n/chaosBatch, append(f.sets(), "ingest.kafka.on_data_loss=skip")...)
	v.dieOften(kills / 2)
	end := int64(n+n/2) / 4
	f.truncate(t, 1, end-int64(n/16)) // at most 3/8 of n is lost of n/2 that are not needed
	v.dieOften(kills - kills/2)
	v.finish()
	return v.check(int64(n))
}

// topicCompacted loses records that later ones with the same key replace.
func topicCompacted(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	f := newTopicFeed(t, 4, map[string]string{"cleanup.policy": "compact"})
	f.produce(t, n/2, 0, 4)
	f.next = 0
	f.produce(t, n+n/4, 0, 4) // the first half again, under the same keys
	v := newVictim(t, rng, "daemon", n/chaosBatch, f.sets()...)
	v.dieOften(kills / 2)
	f.cluster.Compact()
	v.dieOften(kills - kills/2)
	v.finish()
	return v.check(int64(n))
}

// badStore answers one request in twenty wrongly.
func badStore(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	var mu sync.Mutex
	chance, requests := rand.New(rand.NewPCG(rng.Uint64(), 0)), 0
	faults := []s3server.Fault{
		{Status: 503, Code: "SlowDown"}, {Status: 500, Code: "InternalError", After: true}, {Reset: true}, {Delay: 300 * time.Millisecond},
		{Truncate: true, At: 100}, {Flip: true, At: 77}, {SwapHalves: true}, {Short: true}, {Status: 400, Code: "ExpiredToken"},
	}
	f := newBucketFeed(t, s3server.Options{AccessKey: "key", Fault: func(*http.Request) *s3server.Fault {
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests%20 != 0 { // never two in a row: expired credentials are renewed once
			return nil
		}
		return &faults[chance.IntN(len(faults))]
	}})
	f.shards(t, n, 500)
	v := newVictim(t, rng, "train", n/chaosBatch, append(f.sets(), f.checkpoints()...)...)
	v.bucket = f
	v.dieOften(kills)
	v.finish()
	return v.check(int64(n))
}

// prefixFollowed is a listing that changes while it is read.
func prefixFollowed(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	f := newBucketFeed(t, s3server.Options{AccessKey: "key"})
	put := func(from, to int) {
		for i := from; i < to; i++ {
			f.image(t, i)
		}
	}
	put(0, n/3)
	v := newVictim(t, rng, "daemon", n/chaosBatch, f.followed()...)
	v.dieOften(kills / 2)
	p := v.start()
	put(n/3, 2*n/3)
	v.await(p, 2)
	_ = p.cmd.Process.Kill()
	v.ended(p)
	put(2*n/3, n)
	v.dieOften(kills - kills/2)
	v.finish()
	return v.check(int64(n))
}

// hotSpares has two daemons of which one stands by; the one that leads is killed.
func hotSpares(t *testing.T, rng *rand.Rand, kills int) tally {
	n := imagesFor(kills)
	f := newTopicFeed(t, 4, nil)
	f.produce(t, n, 0, 4)
	v := newVictim(t, rng, "daemon", n/chaosBatch, append(f.sets(), "daemon.standby=true")...)
	leader := v.start()
	v.await(leader, 1) // or the other one might lead
	for range kills {
		spare := v.start()
		if !v.await(leader, chaosStepsMin+rng.IntN(3)) {
			leader = spare
			break
		}
		_ = leader.cmd.Process.Kill()
		v.ended(leader)
		leader = spare
	}
	v.ended(leader)
	v.finish()
	return v.check(int64(n))
}

// leaderStopped has two daemons on machines of their own that share a bucket. The one that leads is stopped for longer
// than its lease; the other takes over, and the first, going on, finds that it has lost the run.
func leaderStopped(t *testing.T, rng *rand.Rand, _ int) tally {
	const n = 200 * chaosBatch
	f, b := newTopicFeed(t, 4, nil), newBucketFeed(t, s3server.Options{AccessKey: "key"})
	f.produce(t, n, 0, 4)
	sets := append(append(f.sets(), "daemon.standby=true"), b.checkpoints()...)
	first, second := newVictim(t, rng, "daemon", n/chaosBatch, sets...), newVictim(t, rng, "daemon", n/chaosBatch, sets...)
	second.bucket, second.dir = b, filepath.Clean(second.dir)
	leader := first.start()
	first.await(leader, 5)
	spare := second.start()
	if err := leader.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(15 * time.Second)
	if !second.await(spare, 1) {
		t.Fatalf("the spare did not take over:\n%s", spare.stderr())
	}
	if err := leader.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if o := leader.wait(t); o.code != exitFailed {
		t.Errorf("the leader that was stopped ended with %d:\n%s", o.code, o.err)
	}
	second.ended(spare)
	second.finish()
	return second.checkHalf(n)
}

// checkHalf checks a run whose ledger begins where this machine took over; the counts reach back to the start.
func (v *victim) checkHalf(want int64) tally {
	v.t.Helper()
	c := v.newest()
	report, err := checkLedger(v.t.Context(), v.dir, c)
	if err != nil {
		v.t.Fatal(err)
	}
	if !report.Exact() || report.FirstStep <= 1 {
		v.t.Errorf("the ledger shows %+v", report)
	}
	v.checkCounts(c, want)
	return tally{kills: v.kills, samples: c.Samples, missing: report.Missing, repeated: report.Repeated + report.Unrecorded}
}
