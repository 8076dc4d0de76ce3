package loader

import (
	"errors"
	"fmt"
	"runtime"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

const (
	// DefaultMemoryLimit bounds the encoded bytes when Options.MemoryLimit is 0.
	DefaultMemoryLimit = 1 << 30
	// MaxFetchers is how many reads of a bounded source may go on at a time.
	MaxFetchers = 256
	// aheadPerFetcher is how many samples are read ahead for each fetcher, beside the shuffle buffer.
	aheadPerFetcher = 8
)

// Options is what a loader may be told. The zero value reads a bounded source in its own order for ever.
type Options struct {
	// Seed and the epoch decide the order of a bounded source when Shuffle is set; else it is the manifest's.
	Seed    uint64
	Shuffle bool
	// ShuffleWindow is how many shards are read at the same time; 0 reads them one by one in the manifest's order, 1 one
	// by one in random order. Single files are always shuffled as a whole.
	ShuffleWindow int
	// ShuffleBuffer is the number of samples of the shuffle buffer behind the merged shards; 0 is none. It should fit
	// into MemoryLimit: what does not is read again one by one (Stats.Rereads).
	ShuffleBuffer int
	// Fetchers is how many reads of the source go on at a time, at first (see SetFetchers); 0 chooses by the number of CPUs.
	Fetchers int
	// MemoryLimit bounds the encoded bytes that the loader holds or has handed out and not got back, 0 is
	// DefaultMemoryLimit. One sample larger than that is let through alone.
	MemoryLimit int64
	// MaxBytes is the length at which sources cut an image off (at MaxBytes+1); 0 is none. A larger file needs no more of
	// MemoryLimit than that.
	MaxBytes int64
	// Epochs ends a bounded run when that many passes are done, those before Start included; 0 goes on for ever.
	Epochs int64
	// GroupBy tells which samples come from one source (Sample.Group).
	GroupBy ingest.GroupBy
	// Window, if not nil, passes over samples of a stream that came before.
	Window *Window
	// Repeated, if not nil, is told of each sample that Window passes over, before it can count as consumed. Run calls it.
	Repeated func(ingest.ID)
	// Start is the token after which to go on; the zero value is the beginning.
	Start Token
	// Allocator makes the copies of samples that come many to a record; nil is Go's heap.
	Allocator memory.Allocator
}

func (o Options) validate() error {
	var errs []error
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"shuffle window", int64(o.ShuffleWindow)},
		{"shuffle buffer", int64(o.ShuffleBuffer)},
		{"number of fetchers", int64(o.Fetchers)},
		{"memory limit", o.MemoryLimit},
		{"largest image", o.MaxBytes},
		{"number of epochs", o.Epochs},
	} {
		if v.value < 0 {
			errs = append(errs, fmt.Errorf("check loader options: the %s is %d, less than 0", v.name, v.value))
		}
	}
	return errors.Join(errs...)
}

// room is how many samples may be in memory and not handed out, where the memory limit allows.
func (o Options) room(fetchers int) int { return max(1, o.ShuffleBuffer) + fetchers*aheadPerFetcher }

func (o Options) withDefaults() Options {
	if o.Fetchers == 0 {
		o.Fetchers = min(max(8, 2*runtime.GOMAXPROCS(0)), 64)
	}
	if o.MemoryLimit == 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	if o.Allocator == nil {
		o.Allocator = memory.DefaultAllocator
	}
	return o
}
