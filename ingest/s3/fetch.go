package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/internal/frozen"
	"mocostream/ingest/internal/shard"
	"mocostream/internal/objects"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// FetcherOptions say which objects may be fetched. Fields named as in Options are the same.
type FetcherOptions struct {
	Client Client
	// Allow holds what messages may point at: "bucket" is all of it, "bucket/folder" that key and all below it,
	// "bucket/train-*" all keys that begin so. Empty allows nothing.
	Allow      []string
	MaxBytes   int64
	PartSize   int64
	Parallel   int
	PauseLimit time.Duration
	Allocator  memory.Allocator
	Warn       func(text string)
	// Labels, ImageColumn and LabelColumn are for shards.
	Labels                   bool
	ImageColumn, LabelColumn string
}

// Fetcher reads single objects that the messages of another source name. Methods may be called concurrently.
type Fetcher struct {
	FetcherOptions
	allow  []rule
	shared *access // its bucket is empty
}

// NewFetcher makes a Fetcher. The client stays the caller's.
func NewFetcher(o FetcherOptions) (*Fetcher, error) {
	if o.MaxBytes < 0 || o.MaxBytes > frozen.LargestMaxBytes {
		return nil, fmt.Errorf("fetch objects: largest image of %d bytes is not in 1..%d", o.MaxBytes, frozen.LargestMaxBytes)
	}
	o.MaxBytes = cmp.Or(o.MaxBytes, frozen.DefaultMaxBytes)
	f := &Fetcher{FetcherOptions: o}
	var err error
	if f.allow, err = parseRules(o.Allow); err != nil {
		return nil, err
	}
	f.shared, err = newAccess(accessOptions{
		client: o.Client, bucket: "-", maxBytes: o.MaxBytes, partSize: o.PartSize, parallel: o.Parallel,
		pauseLimit: o.PauseLimit, mem: o.Allocator, warn: o.Warn,
	})
	if err != nil {
		return nil, fmt.Errorf("fetch objects: %w", err)
	}
	return f, nil
}

// Stats may be called at any time.
func (f *Fetcher) Stats() Stats { return f.shared.stats() }

// Fetch returns the bytes of an object, or the first MaxBytes+1 of a larger one. Version and etag may be empty, size may
// be 0 for unknown; what is given has to be so. It blocks while credentials are refused, up to PauseLimit. The error wraps
// ErrNotAllowed, fs.ErrNotExist or ingest.ErrChanged where fetching the same again does not help.
func (f *Fetcher) Fetch(ctx context.Context, bucket, key, version, etag string, size int64) (image []byte, err error) {
	o, err := f.find(ctx, bucket, key, version, etag, size)
	if err != nil {
		return nil, err
	}
	err = f.shared.persist(ctx, func() (err error) {
		image, err = f.read(ctx, bucket, o)
		return err
	})
	if err != nil {
		return nil, withChange(err)
	}
	f.shared.objects.Add(1)
	f.shared.bytes.Add(uint64(len(image)))
	return image, nil
}

func (f *Fetcher) read(ctx context.Context, bucket string, o objects.Object) ([]byte, error) {
	if o.Size <= f.MaxBytes {
		return f.Client.ReadAll(ctx, bucket, o)
	}
	head := make([]byte, f.MaxBytes+1)
	_, err := f.Client.ReaderAt(ctx, bucket, o).ReadAt(head, 0)
	return head, err
}

// Open reads a shard that a message names (see IsShard). row gives ID, Items and Time of each sample; the last one's Items
// are replaced by the number of samples. Errors are those of Fetch, and come with the first Next at the latest.
func (f *Fetcher) Open(ctx context.Context, bucket, key, version, etag string, size int64, row func(sample int64) ingest.Row) (ingest.Reader, error) {
	o, err := f.find(ctx, bucket, key, version, etag, size)
	if err != nil {
		return nil, err
	}
	return newShardReader(f.shared.in(bucket), o, shard.Options{
		Count: -1, Labels: f.Labels, ImageColumn: f.ImageColumn, LabelColumn: f.LabelColumn, Row: row,
	}, 0), nil
}

// IsShard says whether an object of this name is a shard, to be read with Open.
func IsShard(key string) bool { return shard.Is(key) }

// find checks that the object may be read and asks for what the message does not say of it.
func (f *Fetcher) find(ctx context.Context, bucket, key, version, etag string, size int64) (objects.Object, error) {
	if err := allowed(f.allow, bucket, key); err != nil {
		return objects.Object{}, err
	}
	o := objects.Object{Key: key, Size: size, ETag: etag, Version: version}
	if etag != "" && bare(etag) == etag {
		o.ETag = `"` + etag + `"` // notifications leave the quotes out
	}
	if o.ETag != "" && size > 0 {
		return o, nil
	}
	err := f.shared.patiently(ctx, func() error {
		now, err := f.Client.Stat(ctx, bucket, key)
		if err != nil {
			return err
		}
		if version == "" || now.Version == version {
			etag, size := o.ETag, o.Size
			o = now
			if etag != "" && bare(etag) != bare(now.ETag) || size > 0 && size != now.Size {
				return fmt.Errorf("fetch %s: %w", objects.URL(bucket, key), objects.ErrChanged)
			}
			return nil
		}
		return fmt.Errorf("fetch %s: a newer version is there, and the message tells no size of its own: %w", objects.URL(bucket, key), objects.ErrChanged)
	})
	return o, withChange(err)
}

// withChange makes the client's word for changed objects the sources' word.
func withChange(err error) error {
	if errors.Is(err, objects.ErrChanged) {
		return fmt.Errorf("%w: %w", ingest.ErrChanged, err)
	}
	return err
}

// in returns the same access to another bucket.
func (a *access) in(bucket string) *access { return &access{store: a.store, bucket: bucket} }

// bare returns what identifies content: some servers and notifications leave the quotes of ETags out.
func bare(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }
