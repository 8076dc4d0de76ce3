package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"mocostream/config"
	"mocostream/internal/failpoint"
	"mocostream/sink"
	"mocostream/train"
)

// lockStore opens the run's checkpoints and makes this process the only one that writes them.
func (s *session) lockStore(ctx context.Context) (train.Checkpoints, error) {
	local, err := s.lockFolder(ctx)
	if err != nil {
		return nil, err
	}
	s.onClose(local.Close)
	if s.config.Sink.S3.URL == "" {
		return local, nil
	}
	client, err := openClient(ctx, s.config.Sink.S3.S3Access, s.log)
	if err != nil {
		return nil, err
	}
	bucket, prefix, _ := config.Bucket(s.config.Sink.S3.URL)
	k := s.config.Sink
	store, err := sink.OpenS3Store(ctx, sink.S3Options{
		Client: client, Bucket: bucket, Prefix: prefix, CacheDir: filepath.Join(k.Dir, "cache"), Owner: owner(),
		Keep: k.Keep, KeepEvery: int64(k.KeepEvery), Lease: k.S3.Lease, Wait: s.standby, Warn: warner(s.log), Point: failpoint.Hit,
	})
	if err != nil {
		return nil, err
	}
	s.keepLease(ctx, store)
	s.copies = newManifestCopies(client, s.config)
	return store, nil
}

// keepLease shows that this process lives until the session is closed. Losing the run to another process ends it.
func (s *session) keepLease(ctx context.Context, store *sink.S3Store) {
	beating, stop := context.WithCancel(ctx)
	s.lost = make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := store.Run(beating); err != nil && beating.Err() == nil {
			s.lost <- err
		}
	}()
	s.onClose(func() error {
		stop()
		<-ended
		return store.Close(context.WithoutCancel(ctx))
	})
}

// unlessLost is ctx that ends, with the cause, when another process has taken the run over.
func (s *session) unlessLost(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case err := <-s.lost:
			cancel(err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// lockFolder opens the run folder. Where checkpoints are in a bucket it holds records alone.
func (s *session) lockFolder(ctx context.Context) (*sink.Store, error) {
	k := s.config.Sink
	o := sink.Options{Keep: k.Keep, KeepEvery: int64(k.KeepEvery), Warn: warner(s.log), Point: failpoint.Hit}
	if s.standby {
		return sink.AwaitStore(ctx, k.Dir, o)
	}
	return sink.OpenStore(k.Dir, o)
}

// owner names this process to people.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}
