package main

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mocostream/internal/s3server"
	"mocostream/internal/standin"
)

// A daemon that cannot start, or not go on, says what is wrong and what to do, and ends.
func TestWrongDaemon(t *testing.T) {
	b := broker(t, 16)
	server, url := bucketServer(t, s3server.Options{})
	uploadFolder(t, server, "photos", "in/", images(t, 16, 1))
	photos := append(bucketAccess("ingest.s3", url), "ingest.s3.url=s3://photos/in/", "train.steps=1")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		kafka bool
		set   []string
		code  int
		texts []string
	}{
		"missing topic":      {true, []string{"ingest.kafka.topics=[nothing]"}, exitFailed, []string{`topic "nothing"`, "does not exist", "ingest.kafka.topics"}},
		"wrong certificates": {true, []string{"ingest.kafka.tls=true", "ingest.kafka.ca_file=/nothing.pem"}, exitFailed, []string{"ingest.kafka.ca_file", "/nothing.pem"}},
		"missing secret": {true, []string{"ingest.kafka.sasl=plain", "ingest.kafka.username=me", "ingest.kafka.password=file:/nothing"}, exitFailed,
			[]string{"ingest.kafka.password", "/nothing"}},
		"too little memory":                 {true, []string{"ingest.kafka.max_message_bytes=1GiB"}, exitUsage, []string{"max_message_bytes", "memory_limit"}},
		"missing bucket":                    {false, []string{"ingest.s3.url=s3://nothing/in/"}, exitFailed, []string{"s3://nothing", "does not exist"}},
		"refused keys of a followed prefix": {false, []string{"ingest.s3.access_key=other", "ingest.s3.follow=true"}, exitFailed, []string{"s3://photos/in/", "credentials"}},
		"empty prefix":                      {false, []string{"ingest.s3.url=s3://photos/out/"}, exitFailed, []string{"s3://photos/out/"}},
		"refused keys":                      {false, []string{"ingest.s3.access_key=other"}, exitFailed, []string{"s3://photos/in/", "credentials"}},
		"missing sink":                      {false, append(bucketAccess("sink.s3", url), "sink.s3.url=s3://nothing/run"), exitFailed, []string{"s3://nothing/run", "create the bucket"}},
		"port taken":                        {true, []string{"daemon.http=" + taken.Addr().String()}, exitUsage, []string{taken.Addr().String(), "address already in use", "choose another"}},
		"no token":                          {true, []string{"daemon.http=0.0.0.0:0"}, exitUsage, []string{"0.0.0.0:0", "daemon.token", "127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			set := online(b, dir)
			if !c.kafka {
				set = append(set[3:], photos...)
			}
			d := startDaemon(t, dir, append(set, c.set...))
			if err := d.wait(); err == nil {
				t.Fatal("it ended well")
			}
			said := d.said()
			if code := d.cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("ended with %d, want %d", code, c.code)
			}
			_, message, found := strings.Cut(said, "mocostream: ")
			for _, text := range c.texts {
				if !strings.Contains(message, text) {
					t.Errorf("it does not say %q", text)
				}
			}
			for _, never := range []string{"panic", "goroutine", "%!", "<nil>", "context canceled", "mocostream: "} {
				if strings.Contains(message, never) {
					t.Errorf("it says %q", never)
				}
			}
			if !found || t.Failed() {
				t.Logf("it says:\n%s", said)
			}
		})
	}
}

// A broker that is gone makes a daemon that waits for data unready, and says so, until it is back.
func TestBrokerGone(t *testing.T) {
	folder := t.TempDir()
	b, err := standin.StartBroker(folder, "images", 4)
	if err != nil {
		t.Fatal(err)
	}
	address := b.Address()
	dir := filepath.Join(t.TempDir(), "run")
	d := startDaemon(t, dir, online(b, dir))
	produceImages(t, b, 0, 16)
	d.until("it waits", func() bool { _, body := d.get("/status"); return strings.Contains(body, `"state":"waiting"`) })
	if code, word := d.get("/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d %s", code, word)
	}
	b.Close()
	d.until("it is not ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusServiceUnavailable })
	if _, text := d.get("/status"); !strings.Contains(text, "cannot be read: ") {
		t.Errorf("status: %s", text)
	}
	if b, err = standin.StartBroker(folder, "images", 4); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Address() != address {
		t.Skipf("the broker came back at %s and not at %s", b.Address(), address)
	}
	d.until("it is ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusOK })
	produceImages(t, b, 16, 32)
	d.until("it trains", func() bool { _, body := d.get("/status"); return strings.Contains(body, `"step":4`) })
	d.stop(syscall.SIGTERM)
	wholeLedger(t, dir, 32)
}

// A bucket that refuses the credentials later on makes the daemon wait, and not be ready, until it takes them again.
func TestRefusedLater(t *testing.T) {
	server, url := bucketServer(t, s3server.Options{})
	uploadFolder(t, server, "photos", "in/", images(t, 40, 1))
	dir := filepath.Join(t.TempDir(), "run")
	d := startDaemon(t, dir, append(online(broker(t, 0), dir)[3:], append(bucketAccess("ingest.s3", url), "ingest.s3.url=s3://photos/in/",
		"ingest.s3.follow=true", "ingest.s3.follow_every=200ms")...))
	d.await(`"checkpoint":"step-000000005"`)
	if code, word := d.get("/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d %s", code, word)
	}
	server.SetCredentials("other", "")
	d.await("reading pauses")
	d.until("it is not ready", func() bool { code, _ := d.get("/readyz"); return code == http.StatusServiceUnavailable })
	if _, text := d.get("/status"); !strings.Contains(text, "valid credentials") {
		t.Errorf("status: %s", text)
	}
	if code, word := d.get("/healthz"); code != http.StatusOK {
		t.Errorf("health: %d %s", code, word)
	}
	server.SetCredentials(bucketKey, "")
	uploadFolder(t, server, "photos", "in/more/", images(t, 40, 2))
	d.await(`"checkpoint":"step-000000010"`)
	if code, word := d.get("/readyz"); code != http.StatusOK {
		t.Errorf("ready again: %d %s", code, word)
	}
	d.stop(syscall.SIGTERM)
	wholeLedger(t, dir, 80)
}

// A second daemon in the folder of one that runs ends, and leaves the first alone.
func TestSecondDaemon(t *testing.T) {
	b := broker(t, 40)
	dir := filepath.Join(t.TempDir(), "run")
	first := startDaemon(t, dir, online(b, dir))
	first.await(`"checkpoint":"step-000000005"`)
	second := startDaemon(t, dir, online(b, dir))
	if err := second.wait(); err == nil || second.cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("ended with %v", err)
	}
	for _, text := range []string{dir, "another run is writing to it", "sink.dir"} {
		if !strings.Contains(second.said(), text) {
			t.Errorf("it does not say %q:\n%s", text, second.said())
		}
	}
	first.ctl("status").want(t, exitOK)
	first.stop(syscall.SIGTERM)
	wholeLedger(t, dir, 40)
}
