// Package s3 reads images out of a bucket: single objects, or shards (tar, Parquet, Arrow IPC) of many. A Source lists a
// prefix once and is bounded; a Follow keeps watching it and is a stream; a Fetcher reads the objects that messages of
// another source point at.
//
// What is read is what was listed: every request names the object's ETag, lengths and checksums are verified, and a body
// cut short is taken up where it ended.
package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/internal/frozen"
	"mocostream/ingest/internal/shard"
	"mocostream/internal/objects"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Kinds of objects to read.
const (
	KindAuto   = "auto"   // both, told by the name's ending
	KindImages = "images" // .jpg, .jpeg, .png and .webp
	KindShards = "shards" // .tar, .tar.gz, .tgz, .parquet, .arrow, .arrows and .feather
)

// What to do about an object that changed or vanished since it was listed.
const (
	OnChangeStop = "stop" // the run ends with an error that wraps ingest.ErrChanged
	OnChangeSkip = "skip" // its samples become bad images, and the order of all others stays
)

// Options say what to read.
type Options struct {
	Client Client
	Bucket string
	// Prefix is the folder of the objects ("" is the whole bucket, a slash at its end is added), the name of a single
	// shard or image, or the beginning of names with a star at its end: "shards/train-*".
	Prefix string
	// Kind is one of the constants; "" is KindAuto. Objects with other endings, and those with a part of their name that
	// begins with a dot, are left out.
	Kind string
	// Labels gives every image below a folder of the prefix that folder's index among the sorted ones that hold images,
	// and samples of shards the label that is stored with them.
	Labels bool
	// ManifestDir is where the list of objects is kept. ManifestHash is the list to read, as stored in a checkpoint; empty
	// lists the prefix as it is now.
	ManifestDir, ManifestHash string
	// MaxBytes is the largest image that is read whole, at most 1 GiB; 0 is 32 MiB. Of a larger one the first MaxBytes+1
	// bytes are returned, so that its length shows what it is.
	MaxBytes int64
	// ImageColumn and LabelColumn are those of tables; "" finds them by their names.
	ImageColumn, LabelColumn string
	// OnChange is one of the constants; "" is OnChangeStop.
	OnChange string
	// PartSize is how many bytes one request for a part of a large shard asks for, 0 is 16 MiB; a shard not larger than
	// this is read and verified whole before its first sample is handed out. Parallel is how many parts of one shard are
	// asked for at a time, and how many shards are counted at a time; 0 is 4.
	PartSize int64
	Parallel int
	// PauseLimit is how long reading waits for other credentials when those at hand are refused; 0 is an hour.
	PauseLimit time.Duration
	// Allocator is where records are allocated; nil means Go's heap.
	Allocator memory.Allocator
	// Warn is told what a person should know while reading goes on; nil is nobody. It may be called concurrently.
	Warn func(text string)
}

// Source reads the objects below a prefix. Each is a partition: an image of one sample, a shard of many. Methods may be
// called concurrently.
type Source struct {
	Options
	*access
	scope
	list    *frozen.List
	classes *frozen.Classes
}

var _ ingest.Bounded = (*Source)(nil)

// New makes a source. Nothing is requested before the first call of Manifest or Read. The client stays the caller's.
func New(o Options) (*Source, error) {
	where := "read " + objects.URL(o.Bucket, o.Prefix)
	var err error
	if o.MaxBytes, err = frozen.Check(o.ManifestDir, o.MaxBytes); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	o.OnChange = cmp.Or(o.OnChange, OnChangeStop)
	if o.OnChange != OnChangeStop && o.OnChange != OnChangeSkip {
		return nil, fmt.Errorf("%s: unknown answer %q to changed objects; set ingest.s3.on_change to stop or skip", where, o.OnChange)
	}
	s := &Source{Options: o}
	if s.scope, err = newScope(o.Prefix, o.Kind); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	s.access, err = newAccess(accessOptions{
		client: o.Client, bucket: o.Bucket, maxBytes: o.MaxBytes, partSize: o.PartSize, parallel: o.Parallel,
		pauseLimit: o.PauseLimit, mem: o.Allocator, warn: o.Warn,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	s.list = frozen.New(o.ManifestDir, o.ManifestHash, objects.URL(o.Bucket, o.Prefix), s.partitions)
	s.classes = frozen.NewClasses(s.list, func(name string) bool { return !shard.Is(name) })
	return s, nil
}

// Manifest implements ingest.Bounded. The first call lists the prefix, and counts the shards that no index.jsonl beside
// them counts. The manifest stays the source's: Close closes it.
func (s *Source) Manifest(ctx context.Context) (*ingest.Manifest, error) { return s.list.Get(ctx) }

// Close releases the manifest. Readers that are open go on.
func (s *Source) Close() error { return s.list.Close() }

// Stats may be called at any time.
func (s *Source) Stats() Stats { return s.access.stats() }

// Read implements ingest.Bounded. Nothing is requested before the reader's first Next, which says so when the object is
// not the one listed (ingest.ErrChanged). Records of shards hold up to 64 samples and about 1 MiB, or one larger image.
func (s *Source) Read(ctx context.Context, partition int32, from int64) (ingest.Reader, error) {
	m, err := s.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	p, err := m.Partition(partition)
	if err != nil {
		return nil, err
	}
	object := objects.Object{Key: s.root + p.Name, Size: p.Size}
	object.ETag, object.Version = splitVersion(p.Version)
	if from < 0 || from > p.Count {
		return nil, fmt.Errorf("read %s: sample %d of %d", objects.URL(s.Bucket, object.Key), from, p.Count)
	}
	row := ingest.Row{ID: ingest.ID{Source: m.Hash(), Partition: partition}, Key: object.Key}
	if !shard.Is(p.Name) {
		if row.Label, err = s.label(ctx, p.Name); err != nil {
			return nil, err
		}
		return &imageReader{access: s.access, object: object, row: row, skip: s.OnChange == OnChangeSkip, done: from == 1}, nil
	}
	opts := s.shardOptions(row)
	opts.Count = p.Count
	r := newShardReader(s.access, object, opts, from)
	r.skip = s.OnChange == OnChangeSkip
	return r, nil
}

func (s *Source) shardOptions(row ingest.Row) shard.Options {
	return shard.Options{
		Labels: s.Labels, ImageColumn: s.ImageColumn, LabelColumn: s.LabelColumn,
		Row: func(sample int64) ingest.Row {
			row := row
			row.Offset = sample
			return row
		},
	}
}

// changed says that an object is not the one listed.
func changed(err error) error {
	return fmt.Errorf("%w: %w; bring the object back, set ingest.s3.on_change to skip, or start a new run, which lists the prefix again",
		err, ingest.ErrChanged)
}

// isChange says whether reading the same object again is of no use, since it is another one or gone.
func isChange(err error) bool {
	return errors.Is(err, objects.ErrChanged) || errors.Is(err, ingest.ErrChanged) || isGone(err)
}
