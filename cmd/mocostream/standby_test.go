package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mocostream/internal/s3server"
	"mocostream/sink"
	"mocostream/train"
)

// Two daemons over one folder: while one lives the other stands by, and takes over, once, when it is killed.
func TestStandbyTakesOver(t *testing.T) {
	b := broker(t, 240)
	dir := filepath.Join(t.TempDir(), "run")
	settings := online(b, dir, "daemon.standby=true")
	leader := startDaemon(t, dir, settings)
	leader.await(`"checkpoint":"step-000000005"`)
	spare := startDaemon(t, dir, settings)
	spare.await("standing by")
	if err := leader.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = leader.wait() // killed
	spare.await("going on from checkpoint")
	produceImages(t, b, 240, 320)
	spare.until("all is trained on", func() bool { _, body := spare.get("/status"); return strings.Contains(body, `"samples":320`) })
	spare.stop(syscall.SIGTERM)
	wholeLedger(t, dir, 320)
}

// pair starts two daemons over one prefix of a bucket, each with a folder of its own; the first leads.
func pair(t *testing.T, n int) (leader, spare *daemon, newest func() *train.Checkpoint) {
	t.Helper()
	b := broker(t, n)
	server, url := bucketServer(t, s3server.Options{})
	server.Put("runs", "somebody-elses", []byte("file"))
	access := append(bucketAccess("sink.s3", url), "sink.s3.url=s3://runs/one", "sink.s3.lease=1s", "sink.keep=100", "daemon.standby=true")
	begin := func(name string) *daemon {
		dir := filepath.Join(t.TempDir(), name)
		return startDaemon(t, dir, online(b, dir, access...))
	}
	leader = begin("leader")
	leader.await(`"checkpoint":"step-000000005"`)
	spare = begin("spare")
	spare.await("standing by")
	return leader, spare, func() *train.Checkpoint { return downloaded(t, server) }
}

// downloaded is the checkpoint that the newest generation in the bucket saved.
func downloaded(t *testing.T, server *s3server.Server) *train.Checkpoint {
	t.Helper()
	keys := server.Keys("runs")
	for i := len(keys) - 1; i >= 0; i-- {
		if !strings.HasPrefix(keys[i], "one/generations/") {
			continue
		}
		var g struct {
			Checkpoint *struct {
				Folder string
				Step   int64
			}
		}
		text, _ := server.Get("runs", keys[i])
		if err := json.Unmarshal(text, &g); err != nil {
			t.Fatal(err)
		}
		if g.Checkpoint == nil {
			continue
		}
		dir := filepath.Join(t.TempDir(), "checkpoint")
		for _, key := range keys {
			if before, name, ok := strings.Cut(key, g.Checkpoint.Folder+"/"); ok && strings.HasPrefix(before, "one/") {
				data, _ := server.Get("runs", key)
				write(t, filepath.Join(dir, name), data)
			}
		}
		ck, err := sink.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		return ck
	}
	t.Fatalf("no checkpoint in %v", keys)
	return nil
}

// exact wants the checkpoint to have consumed n samples, each once: as many offsets without a gap as samples were trained on.
func exact(t *testing.T, ck *train.Checkpoint, n int64) {
	t.Helper()
	var consumed int64
	for source, partitions := range ck.Token.Progress.Streams {
		for partition, done := range partitions {
			if len(done) != 1 || done[0].Start != 0 {
				t.Errorf("%s partition %d: consumed %v", source, partition, done)
			}
			consumed += done.Len()
		}
	}
	if ck.Samples != n || consumed != n || ck.Token.Position != uint64(n) {
		t.Errorf("%d samples, %d offsets, position %d; want %d of each", ck.Samples, consumed, ck.Token.Position, n)
	}
}

// The leader of a bucket is killed: the other one takes over after the lease.
func TestStandbyTakesBucketOver(t *testing.T) {
	leader, spare, newest := pair(t, 400)
	if err := leader.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = leader.wait() // killed
	spare.await("going on from checkpoint")
	spare.until("all is trained on", func() bool { _, body := spare.get("/status"); return strings.Contains(body, `"samples":400`) })
	spare.stop(syscall.SIGTERM)
	exact(t, newest(), 400)
}

// The leader of a bucket is stopped beyond its lease and goes on: it finds out that it leads no more, and ends with 1.
// What the other one saved stays.
func TestStoppedLeaderIsFenced(t *testing.T) {
	leader, spare, newest := pair(t, 400)
	if err := leader.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	spare.await("going on from checkpoint")
	spare.await(`"msg":"checkpoint"`)
	if err := leader.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_ = leader.wait() // its code says it
	if code := leader.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(leader.said(), "another run has taken over") {
		t.Errorf("the leader ended with %d:\n%s", code, leader.said())
	}
	if strings.Contains(leader.said(), "panic") || bytes.Count([]byte(leader.said()), []byte("mocostream: ")) != 1 {
		t.Errorf("the leader says:\n%s", leader.said())
	}
	spare.until("all is trained on", func() bool { _, body := spare.get("/status"); return strings.Contains(body, `"samples":400`) })
	spare.stop(syscall.SIGTERM)
	exact(t, newest(), 400)
	if _, err := os.Stat(filepath.Join(leader.dir, "control.sock")); err == nil {
		t.Error("the leader left its socket")
	}
}
