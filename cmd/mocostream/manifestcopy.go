package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"mocostream/config"
	"mocostream/internal/objects"
)

// manifestCopies keeps the lists of a run's sources beside its checkpoints in a bucket, so that a run can go on in an
// empty folder, on another machine. It is nil where checkpoints are in the run folder, as the lists are.
type manifestCopies struct {
	client         *objects.Client
	bucket, prefix string
	dir            string
}

func newManifestCopies(client *objects.Client, c *config.Config) *manifestCopies {
	bucket, prefix, _ := config.Bucket(c.Sink.S3.URL)
	return &manifestCopies{client: client, bucket: bucket, prefix: prefix, dir: manifestDir(c.Sink.Dir)}
}

func manifestName(hash string) string { return hash + ".manifest" }

func (m *manifestCopies) key(hash string) string {
	return joinKey(m.prefix, manifests, manifestName(hash))
}

// bring fetches the list of a checkpoint's source where the run folder has none. That there is no copy is no error: the
// source is listed again, and must still be the same.
func (m *manifestCopies) bring(ctx context.Context, hash string) error {
	if m == nil || hash == "" {
		return nil
	}
	local := filepath.Join(m.dir, manifestName(hash))
	if _, err := os.Stat(local); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	o, err := m.client.Stat(ctx, m.bucket, m.key(hash))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = m.download(ctx, o, local)
	}
	if err != nil {
		return fmt.Errorf("bring the list of files: %w", err)
	}
	return nil
}

func (m *manifestCopies) download(ctx context.Context, o objects.Object, to string) error {
	body, err := m.client.Get(ctx, m.bucket, o, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(to + ".tmp")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to) // opening it checks every byte against the hash
}

// keep puts the list beside the checkpoints, once.
func (m *manifestCopies) keep(ctx context.Context, hash string) error {
	if m == nil {
		return nil
	}
	f, err := os.Open(filepath.Join(m.dir, manifestName(hash)))
	if err != nil {
		return fmt.Errorf("keep the list of files: %w", err)
	}
	defer f.Close()
	_, err = m.client.Put(ctx, m.bucket, m.key(hash), f, objects.PutOptions{IfNoneMatch: true})
	if err != nil && !errors.Is(err, objects.ErrExists) {
		return fmt.Errorf("keep the list of files: %w", err)
	}
	return nil
}

// joinKey joins parts of an object's key.
func joinKey(parts ...string) string {
	key := ""
	for _, p := range parts {
		if p == "" {
			continue
		}
		if key != "" && key[len(key)-1] != '/' {
			key += "/"
		}
		key += p
	}
	return key
}
