package synth

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// WriteTar writes the set as a tar in WebDataset's convention: <index>.jpg and <index>.cls (the class as decimal text)
// for each image, in order of index. It draws on all CPUs and holds a few dozen encoded images. The file appears under
// its name when it is whole, in place of what was there.
func WriteTar(ctx context.Context, path string, opts Options) error {
	if err := opts.Validate(); err != nil {
		return fmt.Errorf("draw images: %w", err)
	}
	if err := writeWhole(path, func(w io.Writer) error { return writeTar(ctx, w, opts) }); err != nil {
		return fmt.Errorf("draw images into %s: %w", path, err)
	}
	return nil
}

// writeWhole writes a file, with the folder it lies in, that appears under its name when it is whole.
func writeWhole(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := writeBuffered(tmp, write); err != nil {
		_ = os.Remove(tmp) // the first error is the one to hear of
		return err
	}
	return os.Rename(tmp, path)
}

func writeBuffered(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	return errors.Join(err, f.Close())
}

func writeTar(ctx context.Context, w io.Writer, opts Options) error {
	workers := runtime.GOMAXPROCS(0)
	tw := tar.NewWriter(w)
	images := make([][]byte, 8*workers)
	for first := 0; first < opts.Images; first += len(images) {
		batch := images[:min(len(images), opts.Images-first)]
		if err := drawBatch(ctx, batch, opts, first, workers); err != nil {
			return err
		}
		for j, data := range batch {
			if err := writeEntries(tw, fmt.Sprintf("%06d", first+j), (first+j)%opts.Classes, data); err != nil {
				return err
			}
		}
	}
	return tw.Close()
}

// drawBatch encodes images first, first+1, ... into batch.
func drawBatch(ctx context.Context, batch [][]byte, opts Options, first, workers int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for j := range batch {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			batch[j], err = encode(opts, first+j)
			return err
		})
	}
	return g.Wait()
}

func writeEntries(tw *tar.Writer, name string, class int, data []byte) error {
	if err := writeEntry(tw, name+".jpg", data); err != nil {
		return err
	}
	return writeEntry(tw, name+".cls", strconv.AppendInt(nil, int64(class), 10))
}

// writeEntry adds a file whose header holds nothing of the machine or the hour: equal sets are equal bytes.
func writeEntry(tw *tar.Writer, name string, data []byte) error {
	header := tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if err := tw.WriteHeader(&header); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}
