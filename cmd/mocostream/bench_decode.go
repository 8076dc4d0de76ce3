package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"mocostream/augment"
	"mocostream/augment/jpeg"
	"mocostream/augment/rgb"
	"mocostream/config"
	"mocostream/loader"

	"golang.org/x/sync/errgroup"
)

type benchDecodeCommand struct {
	Data    string  `required:"" placeholder:"DIR|SHARDS" help:"Images: a folder, or tar shards (a file, a pattern)."`
	Workers int     `help:"Goroutines that decode; 0: one a processor."`
	Seconds float64 `default:"10" help:"How long to measure."`
	JSON    bool    `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (benchDecodeCommand) Help() string {
	return `Reads images into memory (at most 1 GiB of them), decodes each once to find the bad ones, and then decodes them all, in
full, again and again. What bench loader does beyond that is augmentation; what it does less is to decode only the part
of an image that a crop needs.

Example:
  mocostream bench decode --data photos --json`
}

// maxHeld bounds the encoded bytes that bench decode holds.
const maxHeld = 1 << 30

// Run implements the command.
func (b benchDecodeCommand) Run(term *terminal) error {
	d, err := benchTime(b.Seconds)
	if err != nil {
		return err
	}
	if b.Workers < 0 {
		return usage("--workers %d: use 0 or more", b.Workers)
	}
	if b.Workers == 0 {
		b.Workers = runtime.GOMAXPROCS(0)
	}
	var result *throughput
	err = term.interruptible(func(ctx context.Context) error {
		images, err := encodedImages(ctx, b.Data)
		if err != nil {
			return err
		}
		result, err = measureDecode(ctx, images, b.Workers, d)
		return err
	})
	if err != nil {
		return err
	}
	if b.JSON {
		return printJSON(term.out, result)
	}
	return result.print(term.out)
}

// errHeldEnough ends the reading of images.
var errHeldEnough = errors.New("enough images read")

// encodedImages reads images in random order, up to maxHeld bytes.
func encodedImages(ctx context.Context, path string) (images [][]byte, err error) {
	c := config.Default()
	src, closeSource, err := openData(ctx, path, c)
	if err != nil {
		return nil, err
	}
	defer closeSource()
	manifest, err := src.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	held := 0
	err = firstSamples(ctx, src, c, int(manifest.Samples()), func(s *loader.Sample) error {
		if held += len(s.Image()); held > maxHeld {
			return errHeldEnough
		}
		images = append(images, append([]byte(nil), s.Image()...))
		return nil
	})
	if errors.Is(err, errHeldEnough) {
		err = nil
	}
	return images, err
}

// measureDecode decodes images for d on as many goroutines as workers.
func measureDecode(ctx context.Context, images [][]byte, workers int, d time.Duration) (*throughput, error) {
	good, err := decodable(ctx, images, workers)
	if err != nil {
		return nil, err
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("none of %d images can be decoded", len(images))
	}
	before, err := processTime()
	if err != nil {
		return nil, err
	}
	started := time.Now()
	decoded, busy, err := decodeFor(ctx, good, workers, d)
	wall := time.Since(started)
	if err != nil {
		return nil, err
	}
	after, err := processTime()
	if err != nil {
		return nil, err
	}
	share := ratio(busy.Seconds(), wall.Seconds()*float64(workers))
	t := &throughput{
		Workers: workers, BadImages: len(images) - len(good), JPEG: jpegName(),
		Stages: map[string]any{"decode": map[string]any{"busy": share, "images_held": len(images)}},
	}
	t.rates(decoded, wall, after-before)
	t.Bottleneck = t.busy("decoding", share)
	return t, nil
}

// decodable returns the images that can be decoded, in their order.
func decodable(ctx context.Context, images [][]byte, workers int) ([][]byte, error) {
	ok := make([]bool, len(images))
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(images)); i = next.Add(1) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				_, err := augment.DecodeRGB(images[i], augment.Limits{})
				ok[i] = err == nil
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var good [][]byte
	for i, img := range images {
		if ok[i] {
			good = append(good, img)
		}
	}
	return good, nil
}

// decodeFor decodes images in turn for d. busy is the time of all workers together.
func decodeFor(ctx context.Context, images [][]byte, workers int, d time.Duration) (decoded uint64, busy time.Duration, err error) {
	running, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var next, count atomic.Uint64
	var mu sync.Mutex
	var group errgroup.Group
	for range workers {
		group.Go(func() error {
			begun := time.Now()
			defer func() {
				mu.Lock()
				busy += time.Since(begun)
				mu.Unlock()
			}()
			var into rgb.Image
			for running.Err() == nil {
				if err := decodeAgain(&into, images[(next.Add(1)-1)%uint64(len(images))]); err != nil {
					cancel()
					return err
				}
				count.Add(1)
			}
			return nil
		})
	}
	if err = group.Wait(); err == nil {
		err = ctx.Err() // stopped before its time
	}
	return count.Load(), busy, err
}

// decodeAgain decodes an image that was found good, a JPEG into memory that is used again.
func decodeAgain(into *rgb.Image, img []byte) error {
	if header, err := jpeg.Scan(img); err == nil {
		return jpeg.Decode(into, img, header)
	}
	_, err := augment.DecodeRGB(img, augment.Limits{})
	return err
}

func jpegName() string { return jpeg.Name() }
