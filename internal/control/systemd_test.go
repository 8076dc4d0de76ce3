package control

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// messages listens as systemd does and returns what is sent.
func messages(t *testing.T) <-chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	all := make(chan string, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 4096)
		for {
			n, err := l.Read(buffer)
			if err != nil {
				return
			}
			all <- string(buffer[:n])
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return all
}

// await reads messages until one holds text.
func await(t *testing.T, all <-chan string, text string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case m := <-all:
			if strings.Contains(m, text) {
				return
			}
		case <-deadline:
			t.Fatalf("nobody was told %q", text)
		}
	}
}

func TestSystemdIsTold(t *testing.T) {
	all := messages(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	state := NewState()
	run(t, Options{State: state})
	await(t, all, "STATUS=starting")
	state.Step(41)
	state.Ready()
	await(t, all, "READY=1")
	await(t, all, "WATCHDOG=1")
	await(t, all, "STATUS=training, step 41")
	state.Waiting(time.Now())
	await(t, all, "STATUS=waiting for data, step 41")
	state.Stopping()
	await(t, all, "STOPPING=1")
}

func TestSystemdMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState()
		s.judgedBy(health{stall: time.Minute}.stalled)
		n := &notifier{state: s, watchdog: time.Second}
		expect := func(want string) {
			t.Helper()
			if got := n.message(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		expect("WATCHDOG=1\nSTATUS=starting")
		s.Ready()
		expect("READY=1\nWATCHDOG=1\nSTATUS=training")
		expect("WATCHDOG=1\nSTATUS=training")
		time.Sleep(time.Minute)
		expect("STATUS=stalled: nothing finished for 60 s") // the watchdog bites
		s.Waiting(time.Now())
		s.Problem(func() string { return "credentials\nREADY=1 expired" })
		expect("WATCHDOG=1\nSTATUS=waiting for data; credentials READY=1 expired")
		s.Stopping()
		expect("STOPPING=1\nWATCHDOG=1\nSTATUS=stopping")
		expect("WATCHDOG=1\nSTATUS=stopping")
	})
}

// Where systemd cannot be told, one warning says so and the daemon goes on.
func TestSystemdIsGone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	warned := make(chan string, 100)
	state := NewState()
	run(t, Options{State: state, Warn: func(text string) { warned <- text }})
	state.Ready()
	if text := <-warned; !strings.Contains(text, "tell systemd") {
		t.Error(text)
	}
}
