package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mocostream/config"
	"mocostream/internal/failpoint"
	"mocostream/internal/s3server"
	"mocostream/internal/standin"
	"mocostream/sink"

	"golang.org/x/sync/errgroup"
)

const (
	demoTopic      = "glyphs"
	demoBucket     = "demo"
	demoPartitions = 4
	demoBurst      = 64 // messages a partition is sent at a time
	demoRate       = 500.0
)

// demoFeed is what a demo streams its images through, in this process: it outlives the trainers, which are children.
type demoFeed struct {
	set   []string // configuration that reads from it
	about string   // what it stands for
	// run feeds so many images, or until ctx ends; nil: all is there.
	run   func(ctx context.Context, images int64) error
	close func()
}

// open starts the stand-in that --from asks for; nil for a folder.
func (d demo) openFeed(ctx context.Context) (*demoFeed, error) {
	switch d.From {
	case "kafka":
		return d.openBroker()
	case "s3":
		return d.openBucket(ctx)
	}
	return nil, nil
}

// openBroker starts a broker whose log lies in the demo's folder, so that a demo that goes on finds its offsets.
func (d demo) openBroker() (*demoFeed, error) {
	b, err := standin.StartBroker(filepath.Join(d.Out, "broker"), demoTopic, demoPartitions)
	if err != nil {
		return nil, err
	}
	return &demoFeed{
		set: []string{
			"ingest.dir=", "ingest.kafka.brokers=[" + b.Address() + "]", "ingest.kafka.topics=[" + demoTopic + "]",
			"ingest.kafka.merge=deterministic", "ingest.kafka.group=mocostream-demo",
		},
		about: fmt.Sprintf("a broker in this process (kfake, a stand-in for Apache Kafka) at %s, topic %s", b.Address(), demoTopic),
		run:   func(ctx context.Context, images int64) error { return d.produce(ctx, b, images) },
		close: b.Close,
	}, nil
}

// produce sends the images again and again, each time in another order, at a rate that leaves the trainer a lag. Message i
// of the stream lies in partition i mod 4 whatever was produced before, so a demo that goes on continues the same stream.
func (d demo) produce(ctx context.Context, b *standin.Broker, images int64) error {
	names, err := imageFiles(d.folder("train"))
	if err != nil {
		return err
	}
	ends, err := b.Ends(ctx)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(time.Duration(float64(time.Second) * demoBurst * demoPartitions / demoRate))
	defer ticker.Stop()
	passes := shuffled{names: names, pass: -1}
	for slices.Min(ends)*demoPartitions < images {
		for p := range ends {
			messages := make([]standin.Message, demoBurst)
			for i := range messages {
				name := passes.nth((ends[p]+int64(i))*demoPartitions + int64(p))
				image, err := os.ReadFile(filepath.Join(d.folder("train"), name))
				if err != nil {
					return fmt.Errorf("produce images: %w", err)
				}
				messages[i] = standin.Message{Key: []byte(filepath.ToSlash(name)), Value: image, Headers: map[string]string{"content-type": "image/jpeg"}}
			}
			if err := b.Produce(ctx, int32(p), messages); err != nil {
				return err
			}
			ends[p] += demoBurst
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// shuffled is an endless stream of names: pass after pass, each in an order of its own.
type shuffled struct {
	names []string
	pass  int64 // that order is of
	order []int
}

func (s *shuffled) nth(i int64) string {
	n := int64(len(s.names))
	if pass := i / n; pass != s.pass {
		s.pass, s.order = pass, rand.New(rand.NewPCG(uint64(pass), 11)).Perm(len(s.names))
	}
	return s.names[s.order[i%n]]
}

// imageFiles lists the images of a folder with a sub-folder a class.
func imageFiles(root string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".jpg") {
			return err
		}
		name, err := filepath.Rel(root, path)
		names = append(names, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return names, nil
}

// openBucket starts an object store and puts the images into it.
func (d demo) openBucket(ctx context.Context) (*demoFeed, error) {
	store := s3server.New(s3server.Options{})
	ctx, cancel := context.WithCancel(ctx)
	address, err := store.Start(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	names, err := imageFiles(d.folder("train"))
	if err != nil {
		cancel()
		return nil, err
	}
	for _, name := range names {
		image, err := os.ReadFile(filepath.Join(d.folder("train"), name))
		if err != nil {
			cancel()
			return nil, fmt.Errorf("fill the bucket: %w", err)
		}
		store.Put(demoBucket, path.Join(demoTopic, filepath.ToSlash(name)), image)
	}
	return &demoFeed{
		set: []string{
			"ingest.dir=", "ingest.s3.url=s3://" + demoBucket + "/" + demoTopic + "/", "ingest.s3.endpoint=" + address,
			"ingest.s3.path_style=true", "ingest.s3.anonymous=true",
		},
		about: fmt.Sprintf("an object store in this process (a stand-in for S3) at %s, bucket %s, %d objects", address, demoBucket, len(names)),
		close: cancel,
	}, nil
}

// stream trains in child processes on what the feed brings. The first one kills itself half-way, with SIGKILL.
func (d demo) stream(term *terminal, c *config.Config, feed *demoFeed, file string) error {
	fmt.Fprintf(term.err, "the images come from %s\n", feed.about)
	group, ctx := errgroup.WithContext(term.ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if feed.run != nil {
		images := int64(c.Train.Steps) * int64(c.Train.Batch)
		group.Go(func() error { return feed.run(ctx, images+images/10) }) // the rest keeps the last batches full
	}
	err := d.killAndResume(ctx, term, c, file)
	cancel()
	if feedErr := group.Wait(); err == nil && !errors.Is(feedErr, context.Canceled) {
		err = feedErr
	}
	return err
}

func (d demo) killAndResume(ctx context.Context, term *terminal, c *config.Config, file string) error {
	half := c.Train.Steps / 2
	done, err := newestStep(c.Sink.Dir)
	if err != nil {
		return err
	}
	if left := int64(half) - done; left > 0 {
		child := trainer{file: file, log: term.err, logFlags: d.logFlags, env: []string{fmt.Sprintf("%s=%s:%d", failpoint.Env, failpoint.StepAfter, left)}}
		err := child.run(ctx, term)
		var exit *exec.ExitError
		killed := errors.As(err, &exit) && !exit.Exited()
		if !killed {
			return err // stopped by the user, or an error
		}
		if done, err = newestStep(c.Sink.Dir); err != nil {
			return err
		}
		fmt.Fprintf(term.err, "the trainer was killed (SIGKILL) after step %d; its newest checkpoint is of step %d, and another goes on from there\n", half, done)
	}
	if isClosed(term.stop) {
		return nil
	}
	return trainer{file: file, log: term.err, logFlags: d.logFlags}.run(ctx, term)
}

// newestStep is the step of a run folder's newest checkpoint, 0 without one.
func newestStep(dir string) (int64, error) {
	folder, err := sink.Resolve(dir, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	ck, err := sink.Read(folder)
	if err != nil {
		return 0, err
	}
	return ck.Step, nil
}
