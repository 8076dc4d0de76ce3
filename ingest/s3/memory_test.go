package s3

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/internal/objects"
)

// endless is a bucket of n images that lie nowhere. at is called before the last one.
type endless struct {
	Client
	n  int
	at func()
}

func (e *endless) List(ctx context.Context, bucket, prefix, after string) iter.Seq2[objects.Object, error] {
	return func(yield func(objects.Object, error) bool) {
		modified := time.Unix(1_700_000_000, 0)
		for i := range e.n {
			if i == e.n-1 && e.at != nil {
				e.at()
			}
			o := objects.Object{Key: fmt.Sprintf("%s%032d.jpg", prefix, i), Size: 5, ETag: fmt.Sprintf("\"%032x\"", i), Modified: modified.Add(time.Duration(i) * time.Millisecond)}
			if !yield(o, nil) {
				return
			}
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

const manyKeys = 50_000 // enough for the memory of one to show

func TestListingNeedsNoMemory(t *testing.T) {
	var peak uint64
	s, err := New(Options{Client: &endless{n: manyKeys, at: func() { peak = heap() }}, Bucket: testBucket, ManifestDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := heap()
	m, err := s.Manifest(t.Context())
	if err != nil || m.Len() != manyKeys {
		t.Fatalf("manifest is %v, %v", m, err)
	}
	for when, now := range map[string]uint64{"while it is listed": peak, "afterwards": heap()} {
		if now > before+2<<20 {
			t.Errorf("heap went from %d to %d bytes %s", before, now, when)
		}
	}
}

// What is remembered takes at most 40 bytes a key, and nothing once it is too old.
func TestFollowingNeedsLittleMemory(t *testing.T) {
	client := &endless{n: manyKeys}
	f, err := NewFollow(FollowOptions{Client: client, Bucket: testBucket, StateDir: t.TempDir(), Lateness: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := heap()
	client.at = func() {
		if now := heap(); now > before+2<<20+40*manyKeys {
			t.Errorf("heap went from %d to %d bytes", before, now)
		}
	}
	if err := f.scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); s.Pending != manyKeys || s.Seen != manyKeys {
		t.Errorf("stats are %+v", s)
	}
	if err := f.scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); s.Seen > 11_000 || s.Late > 0 || s.Pending != manyKeys {
		t.Errorf("after another scan stats are %+v", s)
	}
	var done ingest.Progress
	done.AddRange(f.Source(), 0, 0, manyKeys)
	if _, err := f.Seal(done).WriteTo(io.Discard); err != nil {
		t.Error(err)
	}
}
