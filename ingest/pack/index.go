package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mocostream/ingest/internal/files"
	"mocostream/ingest/internal/shard"
)

// Index reads every shard below a local folder through and writes the index into it, in place of an older one. It
// returns what it found.
func Index(ctx context.Context, dir string) ([]Entry, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("index shards: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("index shards: %s is no folder; name the one that the shards are in", dir)
	}
	var entries []Entry
	for f, err := range (files.Walk{Root: dir, Keep: shard.Is, Temp: dir}).Files(ctx) {
		if err != nil {
			return nil, fmt.Errorf("index shards: %w", err)
		}
		entry, err := describe(ctx, filepath.Join(dir, filepath.FromSlash(f.Name)), f.Name)
		if err != nil {
			return nil, fmt.Errorf("index shards: %w", err)
		}
		entries = append(entries, entry)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("index shards: no tar, Parquet or Arrow file below %s", dir)
	}
	if err := writeIndex(ctx, folder{dir}, entries); err != nil {
		return nil, fmt.Errorf("index shards: %w", err)
	}
	return entries, nil
}

// describe counts and hashes a shard.
func describe(ctx context.Context, full, name string) (Entry, error) {
	o, err := shard.OpenFile(full)
	if err != nil {
		return Entry{}, err
	}
	defer o.Close()
	entry := Entry{Name: name, Size: o.Size()}
	if entry.Samples, err = shard.Count(ctx, o); err != nil {
		return Entry{}, err
	}
	body, err := o.From(ctx, 0)
	if err != nil {
		return Entry{}, err
	}
	defer body.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, cancellable{ctx, body})
	if err == nil && n != entry.Size {
		err = errors.New("its size changes while it is read")
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", full, err)
	}
	entry.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return entry, nil
}

// cancellable ends a long reading with its context.
type cancellable struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}
