//go:build integration && !race

package s3

import (
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"
)

const (
	millionKeys = 1_000_000
	// listingConstant is what listing any number of keys may need, in bytes: Go's heap before it is collected.
	listingConstant = 32 << 20
	// followPerKey is what is remembered of a key that is not too old, and as much for what the collector has not come to.
	followPerKey = 2 * 40
)

// growth measures by how much the resident memory of the process exceeds, at its highest, what it was at the start.
func growth(t *testing.T) (highest func() int64) {
	t.Helper()
	debug.FreeOSMemory()
	before := statusOf(t, "VmRSS:")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // VmHWM begins anew
		t.Skipf("the most memory of a process is known on Linux only: %v", err)
	}
	return func() int64 { return statusOf(t, "VmHWM:") - before }
}

func statusOf(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("the memory of a process is known on Linux only: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("/proc/self/status has no %s", name)
	return 0
}

// A manifest of a million keys lies on disk.
func TestMillionKeys(t *testing.T) {
	s, err := New(Options{Client: &endless{n: millionKeys}, Bucket: testBucket, ManifestDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	highest := growth(t)
	m, err := s.Manifest(t.Context())
	if err != nil || m.Len() != millionKeys {
		t.Fatalf("manifest is %v, %v", m, err)
	}
	for i := int32(0); i < millionKeys; i += 1001 {
		if _, err := m.Partition(i); err != nil {
			t.Fatal(err)
		}
	}
	grown := highest()
	t.Logf("resident memory grew by %d MiB", grown>>20)
	if grown > listingConstant {
		t.Errorf("resident memory grew by %d MiB, want %d at most", grown>>20, listingConstant>>20)
	}
}

// Of a followed prefix of a million new keys some bytes each are remembered, until they are too old.
func TestMillionFollowed(t *testing.T) {
	client := &endless{n: millionKeys}
	f, err := NewFollow(FollowOptions{Client: client, Bucket: testBucket, StateDir: t.TempDir(), Lateness: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	highest := growth(t)
	for range 2 {
		if err := f.scan(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s := f.Stats(); s.Pending != millionKeys || s.Late > 0 {
		t.Errorf("stats are %+v", s)
	}
	var done ingest.Progress
	done.AddRange(f.Source(), 0, 0, millionKeys)
	if _, err := f.Seal(done).WriteTo(io.Discard); err != nil {
		t.Error(err)
	}
	grown := highest()
	t.Logf("resident memory grew by %d MiB", grown>>20)
	if grown > listingConstant+followPerKey*millionKeys {
		t.Errorf("resident memory grew by %d MiB, want %d at most", grown>>20, (listingConstant+followPerKey*millionKeys)>>20)
	}
}
