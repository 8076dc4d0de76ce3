package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/internal/frozen"
	"mocostream/internal/objects"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Start says which objects a Follow that begins takes of those that are there already. The zero value takes all.
type Start struct {
	Latest bool      // none: those that the first scan finds are passed over
	Time   time.Time // not zero: those that are not older
}

// FollowOptions say what to watch. Fields named as in Options are the same.
type FollowOptions struct {
	Client                   Client
	Bucket, Prefix, Kind     string
	Labels                   bool // of shards; single images of a followed prefix have none
	ImageColumn, LabelColumn string
	MaxBytes, PartSize       int64
	Parallel                 int
	PauseLimit               time.Duration
	Allocator                memory.Allocator
	Warn                     func(text string)

	// StateDir is the folder of what was found so far. One Follow at a time uses it.
	StateDir string
	// State is what Seal wrote into the checkpoint that the run resumes from; nil without one. New reads it to its end.
	// What StateDir knows beyond it is kept if both agree, else left out.
	State io.Reader
	Start Start
	// Interval is the time from the end of a scan to the begin of the next; 0 is 30 seconds.
	Interval time.Duration
	// Lateness is how much older than the newest object of the scans before an object may be when it is found first. One
	// that is older still may have been found before and forgotten: it is counted and not read. Objects are remembered
	// for this time, and for one scan more.
	Lateness time.Duration
	// Fetchers is how many images are read at a time; 0 is 8.
	Fetchers int
}

// Follow watches a prefix as a stream: it lists all of it again and again, since new keys may sort anywhere, and gives
// every object that it finds the next ordinal, for ever. That is the Offset of its samples; the Item is the index in a
// shard. An object that is written again with other content is another object. Methods may be called concurrently.
type Follow struct {
	FollowOptions
	*access
	scope
	source  string
	catalog *catalog
	taken   atomic.Int64 // ordinal behind the last object that was handed out or passed over

	mu       sync.Mutex
	readers  int
	stop     context.CancelFunc // of the scanner
	scanning chan struct{}      // closed when the scanner has ended
	failed   error              // of the scanner, under catalog.mu
}

var _ ingest.Stream = (*Follow)(nil)

// NewFollow makes a stream of the objects below a prefix. Nothing is requested before the first Open. The client stays the
// caller's.
func NewFollow(o FollowOptions) (*Follow, error) {
	where := "follow " + objects.URL(o.Bucket, o.Prefix)
	var err error
	switch o.MaxBytes, err = frozen.Check(cmp.Or(o.StateDir, "."), o.MaxBytes); {
	case err != nil:
	case o.StateDir == "":
		err = errors.New("no folder for its state given")
	case o.Interval < 0 || o.Lateness < 0 || o.Fetchers < 0:
		err = errors.New("interval, lateness and fetchers may not be negative")
	case o.Start.Latest && !o.Start.Time.IsZero():
		err = errors.New("it starts either at the latest objects or at a time")
	}
	f := &Follow{source: objects.URL(o.Bucket, o.Prefix) + "#follow"}
	if err == nil {
		f.scope, err = newScope(o.Prefix, o.Kind)
	}
	if err == nil {
		f.access, err = newAccess(accessOptions{
			client: o.Client, bucket: o.Bucket, maxBytes: o.MaxBytes, partSize: o.PartSize, parallel: o.Parallel,
			pauseLimit: o.PauseLimit, mem: o.Allocator, warn: o.Warn,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	o.Interval, o.Fetchers = cmp.Or(o.Interval, 30*time.Second), cmp.Or(o.Fetchers, 8)
	f.FollowOptions = o
	f.catalog, err = openCatalog(o.StateDir, f.source, o.State, o.Start.state(), f.warn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	f.late.Store(f.catalog.state.late)
	return f, nil
}

// state is what a stream begins with.
func (s Start) state() state {
	begin := state{begun: !s.Latest, latest: s.Latest, horizon: math.MinInt64, forget: math.MinInt64}
	if !s.Time.IsZero() {
		begin.horizon = s.Time.Unix()
	}
	return begin
}

// Seal returns what a checkpoint with this progress has to hold for FollowOptions.State: the objects that are not done,
// and those remembered. It is of this moment, whenever it is written. Objects that are done in the seal before are
// dropped from StateDir some time later.
func (f *Follow) Seal(done ingest.Progress) io.WriterTo {
	c := f.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	low := max(f.doneOf(done).FirstGap(0), c.sealed)
	low = min(low, c.ready)
	c.keep, c.sealed = c.sealed, low
	return c.seal(low)
}

func (f *Follow) doneOf(done ingest.Progress) ingest.Intervals { return done.Streams[f.source][0] }

// Source is the source column of the samples: s3://bucket/prefix#follow.
func (f *Follow) Source() string { return f.source }

// Close releases the state. All readers are closed, and all seals written, before.
func (f *Follow) Close() error { return f.catalog.close() }

// Stats may be called at any time.
func (f *Follow) Stats() Stats {
	s := f.access.stats()
	f.catalog.mu.Lock()
	defer f.catalog.mu.Unlock()
	s.Seen = f.catalog.seenCount.Load()
	s.Pending = max(0, f.catalog.ready-f.taken.Load())
	return s
}

// Open implements ingest.Stream. ctx is Open's alone. While a reader is open the prefix is scanned.
func (f *Follow) Open(ctx context.Context, done ingest.Progress) (ingest.StreamReader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	intervals := f.doneOf(done)
	f.catalog.mu.Lock()
	base, ready := f.catalog.base, f.catalog.ready
	f.catalog.mu.Unlock()
	first := intervals.FirstGap(0)
	if n := len(intervals); first < base || n > 0 && intervals[n-1].End > ready {
		return nil, fmt.Errorf("open %s: the checkpoint has consumed other objects than %s knows (%d to %d); "+
			"resume with the checkpoint's own list, or begin a new run", f.source, f.StateDir, base, ready)
	}
	f.taken.Store(max(f.taken.Load(), first))
	f.startScanner(ctx)
	return newFollowReader(ctx, f, done.Clone(), first), nil
}

// startScanner has the prefix scanned for as long as there are readers.
func (f *Follow) startScanner(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers++
	if f.readers > 1 {
		return
	}
	f.report(nil)
	ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	f.scanning = ended
	go func() {
		defer close(ended)
		f.report(f.watch(ctx))
	}()
}

func (f *Follow) stopScanner() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers--
	if f.readers == 0 {
		f.stop()
		<-f.scanning
	}
}

// report tells the readers how the scanner ended; nil for that it begins.
func (f *Follow) report(err error) {
	c := f.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	f.failed = err
	close(c.changed)
	c.changed = make(chan struct{})
}
