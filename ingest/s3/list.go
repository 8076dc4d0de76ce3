package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"mocostream/ingest"
	"mocostream/ingest/internal/shard"
	"mocostream/internal/objects"
)

// partitions lists the prefix as it is now. It holds no more of the listing than the shards being counted.
func (s *Source) partitions(ctx context.Context) iter.Seq2[ingest.Partition, error] {
	return func(yield func(ingest.Partition, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		c := &counting{source: s, ctx: ctx, yield: yield}
		defer c.end()
		defer cancel()
		for o, err := range s.access.list(ctx, s.prefix) {
			if err == nil && !s.wants(o.Key) {
				continue
			}
			if err == nil && shard.Is(o.Key) && c.index == nil {
				c.index, err = s.index(ctx)
			}
			if err != nil {
				c.fail(err)
				return
			}
			if !c.add(o) {
				return
			}
		}
		if c.flush(0) && c.samples == 0 {
			c.fail(s.emptyError(c.objects))
		}
	}
}

func (s *Source) emptyError(found int) error {
	where := objects.URL(s.Bucket, s.Prefix)
	if found > 0 {
		return fmt.Errorf("list %s: no image in its %d shards; a sample's image in a tar is named KEY.jpg, .jpeg, .png or .webp, "+
			"without a further dot in KEY", where, found)
	}
	return fmt.Errorf("list %s: no %s there; set ingest.s3.url to the folder of the images or shards", where, s.describe())
}

// counting turns objects into partitions, in order, while some shards are counted at the same time.
type counting struct {
	source  *Source
	ctx     context.Context // of the listing
	yield   func(ingest.Partition, error) bool
	index   map[string]shard.Entry // nil: not looked for
	stale   bool                   // a shard is not what the index says
	waiting []*counted
	objects int
	samples int64
}

// counted is an object whose samples are known once done is closed.
type counted struct {
	ingest.Partition
	err  error
	done chan struct{}
}

// add takes the next object; false ends the listing.
func (c *counting) add(o objects.Object) bool {
	s := c.source
	next := &counted{done: make(chan struct{}), Partition: ingest.Partition{
		Name: o.Key[len(s.root):], Size: o.Size, Count: 1, Version: joinVersion(o.ETag, o.Version),
	}}
	c.waiting = append(c.waiting, next)
	if n, known := c.known(next.Name, o); known {
		next.Count = n
		close(next.done)
	} else {
		go func() {
			defer close(next.done)
			next.Count, next.err = s.count(c.ctx, o)
		}()
	}
	return c.flush(s.parallel - 1)
}

// known returns the number of samples where nothing has to be read for it.
func (c *counting) known(name string, o objects.Object) (int64, bool) {
	if !shard.Is(name) {
		return 1, true
	}
	n, listed, err := shard.CountOf(c.index, name, o.Size)
	if etag := c.index[name].ETag; listed && etag != "" && bare(etag) != bare(o.ETag) {
		listed, err = false, fmt.Errorf("%s has another ETag: %w", name, shard.ErrStale)
	}
	if listed {
		return n, true
	}
	if err != nil && !c.stale {
		c.stale = true
		c.source.warn(fmt.Sprintf("shards are read through to count them: %s: %v", c.source.url(c.source.root+shard.IndexName), err))
	}
	return 0, false
}

// flush hands out the oldest until at most keep wait; false when that is the end.
func (c *counting) flush(keep int) bool {
	for len(c.waiting) > keep {
		next := c.waiting[0]
		<-next.done
		c.waiting = c.waiting[1:]
		c.objects++
		c.samples += next.Count
		if !c.yield(next.Partition, next.err) || next.err != nil {
			c.yield = nil
			return false
		}
	}
	return true
}

// fail ends the listing with an error, after what came before it.
func (c *counting) fail(err error) {
	if c.yield != nil && c.flush(0) {
		c.yield(ingest.Partition{}, err)
	}
}

// end waits for the counts that nobody needs any more; their context is cancelled by then.
func (c *counting) end() {
	for _, w := range c.waiting {
		<-w.done
	}
}

// count reads a shard through.
func (s *Source) count(ctx context.Context, o objects.Object) (n int64, err error) {
	err = s.persist(ctx, func() error {
		r, err := s.shardObject(ctx, o)
		if err != nil {
			return err
		}
		defer r.Close()
		n, err = shard.Count(ctx, r)
		if failed := r.failure(); err != nil && failed != nil {
			return failed
		}
		return err
	})
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil && isChange(err) {
		err = fmt.Errorf("%w: it changed while the prefix was listed; start again once nobody writes there", err)
	}
	return n, err
}

// index reads what the prefix's index says of its shards, nothing where there is none.
func (s *Source) index(ctx context.Context) (index map[string]shard.Entry, err error) {
	err = s.persist(ctx, func() error {
		o, err := s.client.Stat(ctx, s.bucket, s.root+shard.IndexName)
		if err != nil {
			return err
		}
		body, err := s.client.Get(ctx, s.bucket, o, 0)
		if err != nil {
			return err
		}
		defer body.Close()
		index, err = shard.ReadIndex(body)
		return err
	})
	switch {
	case err == nil:
		return index, nil
	case isGone(err):
		return map[string]shard.Entry{}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, objects.ErrCredentials) || errors.Is(err, objects.ErrUnavailable):
		return nil, err
	}
	s.warn(fmt.Sprintf("shards are read through to count them, since their index cannot be used: %v", err))
	return map[string]shard.Entry{}, nil
}
