package kafka

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"mocostream/internal/objects"

	"golang.org/x/sync/errgroup"
)

// ErrNotAllowed says that a message points at an object that it must not have read.
var ErrNotAllowed = errors.New("object is not allowed; add its bucket or prefix to ingest.kafka.objects.allow")

// ObjectRef is an object that a message points at, as the message has it: nothing of it may be trusted.
type ObjectRef struct {
	Bucket, Key string
	Version     string // "" is the newest
	ETag        string // without quotes; "" is any
	Size        int64  // in bytes; -1 is unknown
}

// URL names the object: s3://bucket/key.
func (r ObjectRef) URL() string { return objects.URL(r.Bucket, r.Key) }

// Objects fetches what messages point at. It may be called concurrently.
type Objects interface {
	// Fetch returns the bytes of an object, of one that is too large for an image its beginning, and tries again what is
	// transient. An error that wraps ErrNotAllowed, fs.ErrNotExist, objects.ErrChanged or objects.ErrCorrupt makes the sample a bad image; any
	// other one ends the run.
	Fetch(ctx context.Context, ref ObjectRef) ([]byte, error)
}

// enoughBytes of fetched objects are as many as one call gathers, except for a message that points at more.
const enoughBytes = 8 << 20

// message is what a record holds.
type message struct {
	items []item
	bytes atomic.Int64 // of its objects that are here
}

// fetchAll fetches the objects of the first messages, as many as make enoughBytes, and returns how many messages that are.
// It returns when all it started has ended.
func (d *decoder) fetchAll(ctx context.Context, messages []message) (taken int, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(d.Fetchers)
	var total atomic.Int64
	for i := range messages {
		if total.Load() >= enoughBytes {
			break
		}
		d.fetchMessage(ctx, group, &messages[i], &total)
		taken++
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	for i := range messages[:taken] {
		d.limit(messages[i].items)
	}
	return taken, nil
}

// fetchMessage starts fetching a message's objects. Those after the limit need not come: whatever the order in which they
// arrive, limit drops them.
func (d *decoder) fetchMessage(ctx context.Context, group *errgroup.Group, m *message, total *atomic.Int64) {
	for i := range m.items {
		it := &m.items[i]
		if it.object == nil || m.bytes.Load() > d.MaxMessage {
			continue
		}
		group.Go(func() error {
			if err := d.fetch(ctx, it); err != nil {
				return err
			}
			m.bytes.Add(int64(len(it.image)))
			total.Add(int64(len(it.image)))
			return nil
		})
	}
}

// fetch reads the object of an item, whose problem it becomes when it cannot be had.
func (d *decoder) fetch(ctx context.Context, it *item) error {
	ref := *it.object
	if d.Objects == nil {
		it.problem = clip(fmt.Sprintf("fetch %s: %v", ref.URL(), ErrNotAllowed))
		return nil
	}
	image, err := d.Objects.Fetch(ctx, ref)
	for _, lasting := range []error{ErrNotAllowed, fs.ErrNotExist, objects.ErrChanged, objects.ErrCorrupt} {
		if errors.Is(err, lasting) {
			it.problem = clip(fmt.Sprintf("fetch %s: %v", ref.URL(), err))
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("fetch %s that a message points at: %w", clip(ref.URL()), err)
	}
	it.image = image[:min(int64(len(image)), d.MaxImage+1)]
	if len(image) == 0 {
		it.problem = clip(fmt.Sprintf("fetch %s: the object is empty", ref.URL()))
	}
	return nil
}

// limit drops the images of objects after the first MaxMessage bytes of a message.
func (d *decoder) limit(items []item) {
	var bytes int64
	for i := range items {
		it := &items[i]
		if it.object == nil {
			continue
		}
		bytes += int64(len(it.image))
		if bytes > d.MaxMessage {
			it.image = nil
			it.problem = fmt.Sprintf("the objects that one message points at have more than %d bytes", d.MaxMessage)
		}
	}
}
