package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mocostream/internal/standin"
	"mocostream/internal/synth"
)

// broker is a stand-in broker with n little images in four partitions.
func broker(t *testing.T, n int) *standin.Broker {
	t.Helper()
	b, err := standin.StartBroker(t.TempDir(), "images", 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	produceImages(t, b, 0, n)
	return b
}

// produceImages produces images from..to, image i into partition i mod 4.
func produceImages(t *testing.T, b *standin.Broker, from, to int) {
	t.Helper()
	o := synth.Options{Classes: 2, Images: to, Size: 32, Seed: 5}
	messages := make([][]standin.Message, 4)
	for i := from; i < to; i++ {
		picture, _ := synth.Image(o, i)
		var content bytes.Buffer
		if err := jpeg.Encode(&content, picture, nil); err != nil {
			t.Fatal(err)
		}
		messages[i%4] = append(messages[i%4], standin.Message{Key: fmt.Appendf(nil, "image-%06d", i), Value: content.Bytes()})
	}
	for p, m := range messages {
		if err := b.Produce(t.Context(), int32(p), m); err != nil {
			t.Fatal(err)
		}
	}
}

// online are the settings of a tiny run over a broker.
func online(b *standin.Broker, dir string, set ...string) []string {
	return append([]string{
		"ingest.kafka.brokers=[" + b.Address() + "]", "ingest.kafka.topics=[images]", "ingest.kafka.merge=deterministic",
		"sink.dir=" + dir, "sink.ledger=true", "sink.checkpoint_every=5",
		"augment.size=8", "loader.limits.min_side=1", "train.arch=resnet10", "train.width=4", "train.stem=cifar", "train.dim=8",
		"train.batch=8", "train.k=16", "train.bn_groups=1", "train.schedule.name=constant", "train.backend=go",
		"daemon.http=127.0.0.1:0", "sink.log_every=100ms",
	}, set...)
}

// daemon is a daemon in a process of its own.
type daemon struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
	log *os.File
	end chan error
}

func startDaemon(t *testing.T, dir string, settings []string, env ...string) *daemon {
	t.Helper()
	args := []string{"daemon", "-c", emptyConfig(t), "--log-format", "json"}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, cmd: exec.Command(os.Args[0], args...), log: log, end: make(chan error, 1)}
	d.cmd.Env = append(append(os.Environ(), childEnv+"=1"), env...)
	d.cmd.Stderr, d.cmd.Stdout = log, log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.end <- d.cmd.Wait() }()
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	return d
}

func emptyConfig(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "run.yaml")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func (d *daemon) said() string {
	text, err := os.ReadFile(d.log.Name())
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// await waits until the log has a text.
func (d *daemon) await(text string) {
	d.t.Helper()
	d.until("the log says "+text, func() bool { return strings.Contains(d.said(), text) })
}

// until waits for a condition, at most a minute.
func (d *daemon) until(what string, ok func() bool) {
	d.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case err := <-d.end:
			d.end <- err
			if !ok() {
				d.t.Fatalf("before %s the daemon ended (%v):\n%s", what, err, d.said())
			}
			return
		case <-deadline:
			d.t.Fatalf("waited in vain until %s:\n%s", what, d.said())
		}
	}
}

// stop sends a signal and wants the daemon to end well.
func (d *daemon) stop(signal os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		d.t.Fatal(err)
	}
	if err := d.wait(); err != nil {
		d.t.Fatalf("ended with %v:\n%s", err, d.said())
	}
}

func (d *daemon) wait() error {
	select {
	case err := <-d.end:
		d.end <- err
		return err
	case <-time.After(time.Minute):
		d.t.Fatalf("it does not end:\n%s", d.said())
		return nil
	}
}

// address is where its HTTP listens.
func (d *daemon) address() string {
	d.t.Helper()
	var found string
	d.until("it listens", func() bool {
		for line := range strings.Lines(d.said()) {
			var entry struct{ Msg, HTTP string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
				found = entry.HTTP
			}
		}
		return found != ""
	})
	return "http://" + found
}

func (d *daemon) get(path string) (int, string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.address()+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return response.StatusCode, string(body)
}

func (d *daemon) ctl(order string) output {
	return program(d.t, "ctl", order, "--dir", d.dir)
}

// wholeLedger wants every one of n samples to be in one step.
func wholeLedger(t *testing.T, dir string, n int) {
	t.Helper()
	r := program(t, "ledger", "--checkpoint", dir, "--json").want(t, exitOK).object(t)
	if r["samples"] != float64(n) || r["missing"] != 0.0 || r["repeated"] != 0.0 || r["unrecorded"] != 0.0 {
		t.Errorf("ledger: %v", r)
	}
}

// A daemon trains on what is there, waits for more, takes orders, tells how it is, and ends well.
func TestDaemon(t *testing.T) {
	b := broker(t, 200)
	dir := filepath.Join(t.TempDir(), "run")
	d := startDaemon(t, dir, online(b, dir, "ingest.kafka.group=tools"))
	d.await("listening")
	status := func() (s struct {
		State string
		Run   struct {
			Step, Samples int64
			LagRecords    int64 `json:"lag_records"`
		}
	}) {
		if err := json.Unmarshal([]byte(d.ctl("status").want(t, exitOK).out), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	d.until("25 steps are done", func() bool { return status().Run.Step == 25 })
	if code, body := d.get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d %s", code, body)
	}
	if code, body := d.get("/readyz"); code != http.StatusOK {
		t.Errorf("readyz: %d %s", code, body)
	}
	if _, body := d.get("/metrics"); !strings.Contains(body, "mocostream_samples_total 200") ||
		!strings.Contains(body, `mocostream_lag_records{partition="0",topic="images"} 0`) {
		t.Errorf("metrics:\n%s", body)
	}
	if o := d.ctl("rebase"); o.code != exitFailed || !strings.Contains(o.err, "set monitor.drift.every") {
		t.Errorf("rebase where drift is not measured: %d %s", o.code, o.err)
	}
	if name := strings.TrimSpace(d.ctl("checkpoint").want(t, exitOK).out); name != "step-000000025" {
		t.Errorf("checkpoint %q", name)
	}
	d.ctl("pause").want(t, exitOK)
	produceImages(t, b, 200, 280)
	if s := status(); s.State != "paused" || s.Run.Step != 25 {
		t.Errorf("paused: %+v", s)
	}
	d.ctl("resume").want(t, exitOK)
	d.until("the rest is trained on", func() bool { return status().Run.Samples == 280 })
	if err := d.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	d.until("SIGUSR1 left a checkpoint", func() bool {
		_, err := os.Stat(filepath.Join(dir, "step-000000035"))
		return err == nil
	})
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil { // as timeout(1) does it: to the process, and to its group
		t.Fatal(err)
	}
	d.stop(syscall.SIGTERM)
	wholeLedger(t, dir, 280)
	if o := d.ctl("status"); o.code != exitFailed || !strings.Contains(o.err, "no daemon is running there") {
		t.Errorf("after the end: %d %s", o.code, o.err)
	}
}
