// Package frozen holds a source's manifest from its first use on.
package frozen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"

	"mocostream/ingest"
)

// List is a source's manifest: the one that a checkpoint names, or else the source as it is at the first call of Get.
type List struct {
	dir, hash string
	source    string // for messages
	partition func(ctx context.Context) iter.Seq2[ingest.Partition, error]

	busy   chan struct{} // holds one token while somebody lists
	loaded atomic.Pointer[ingest.Manifest]
	close  sync.Once
}

// New describes a manifest in folder dir. An empty hash lists the source anew. Of a hash that is not in dir (another
// machine, a lost folder) the source is listed too, and must still be the same.
func New(dir, hash, source string, partitions func(ctx context.Context) iter.Seq2[ingest.Partition, error]) *List {
	return &List{dir: dir, hash: hash, source: source, partition: partitions, busy: make(chan struct{}, 1)}
}

// Get returns the manifest, which stays the List's. The first call may take long; ctx ends it.
func (l *List) Get(ctx context.Context) (*ingest.Manifest, error) {
	if m := l.loaded.Load(); m != nil {
		return m, nil
	}
	select {
	case l.busy <- struct{}{}:
		defer func() { <-l.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if m := l.loaded.Load(); m != nil {
		return m, nil
	}
	m, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	l.loaded.Store(m)
	return m, nil
}

func (l *List) open(ctx context.Context) (*ingest.Manifest, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.hash != "" {
		m, err := ingest.OpenManifest(l.dir, l.hash)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
	}
	m, err := ingest.WriteManifest(l.dir, l.partition(ctx))
	if err != nil {
		return nil, err
	}
	if l.hash != "" && m.Hash() != l.hash {
		m.Close()
		return nil, fmt.Errorf("list %s: %w: it lists as %s, not %s; bring back the files as they were, "+
			"or the manifest %[4]s.manifest into %s, or start a new run", l.source, ingest.ErrChanged, m.Hash(), l.hash, l.dir)
	}
	return m, nil
}

// Close closes the manifest if there is one.
func (l *List) Close() error {
	var err error
	l.close.Do(func() {
		if m := l.loaded.Load(); m != nil {
			err = m.Close()
		}
	})
	return err
}
