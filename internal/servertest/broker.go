package servertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Alone waits until no other test, of this process or another, that called it uses the cluster, and keeps it until the
// test ends: two that each take a broker of three away would wait for each other's.
func (k Kafka) Alone(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(k.dir, "alone.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatalf("lock cluster: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() }) // which unlocks it
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatalf("lock cluster: %v", err)
	}
}

// Kill ends broker id (1, 2, 3) by SIGKILL. It is started again when the test ends, if not before.
func (k Kafka) Kill(t testing.TB, id int) {
	t.Helper()
	k.signal(t, id, unix.SIGKILL)
	t.Cleanup(func() { k.Restart(t, id) })
}

// Freeze stops broker id by SIGSTOP: it answers nothing and closes nothing. It goes on when the test ends, if not before.
func (k Kafka) Freeze(t testing.TB, id int) {
	t.Helper()
	k.signal(t, id, unix.SIGSTOP)
	t.Cleanup(func() { k.Thaw(t, id) })
}

// Thaw lets a frozen broker go on.
func (k Kafka) Thaw(t testing.TB, id int) {
	t.Helper()
	k.signal(t, id, unix.SIGCONT)
}

// Restart starts broker id again with its data, and returns when it takes part. It leaves one alone that runs.
func (k Kafka) Restart(t testing.TB, id int) {
	t.Helper()
	k.script(t, "kafka-up.sh", k.dir, "--only", strconv.Itoa(id))
}

// Tool runs one of Kafka's own tools (topics, delete-records, configs, ...) against the cluster and returns its output.
func (k Kafka) Tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	return k.script(t, "kafka-tool.sh", append([]string{name, "--bootstrap-server", strings.Join(k.Brokers, ",")}, args...)...)
}

func (k Kafka) signal(t testing.TB, id int, signal unix.Signal) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(k.dir, fmt.Sprintf("node%d", id), "pid"))
	if err != nil {
		t.Fatalf("broker %d: %v", id, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("broker %d: %v", id, err)
	}
	if err := unix.Kill(pid, signal); err != nil {
		t.Fatalf("signal broker %d: %v", id, err)
	}
}

func (k Kafka) script(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(root(t), "scripts", "servers", name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// root returns the folder of the module that is tested.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working folder")
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal(err)
	return ""
}
