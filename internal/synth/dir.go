package synth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

const (
	quality    = 90            // of the JPEGs
	recordName = ".synth.json" // the options of the set that a folder holds
)

// WriteDir writes the set as dir/<class name>/<index>.jpg, by the given number of goroutines (at least 1), and returns
// when all have ended. A set that is there already is kept and an interrupted one is finished, so it may be called
// again; a folder that holds anything else is an error and stays as it is.
func WriteDir(ctx context.Context, dir string, opts Options, workers int) error {
	if err := opts.Validate(); err != nil {
		return fmt.Errorf("draw images: %w", err)
	}
	if err := claim(dir, opts); err != nil {
		return fmt.Errorf("draw images into %s: %w", dir, err)
	}
	workers = max(workers, 1)
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			for i := w; i < opts.Images; i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := writeImage(dir, opts, i); err != nil {
					return fmt.Errorf("draw image %d: %w", i, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// claim makes the folder ours: it writes down the options first, so that an interrupted set is known for what it is.
func claim(dir string, opts Options) error {
	record := filepath.Join(dir, recordName)
	have, err := readRecord(record)
	switch {
	case err == nil && have == opts:
	case err == nil:
		return fmt.Errorf("it holds %s, not %s; remove it or choose another folder", have, opts)
	case errors.Is(err, fs.ErrNotExist):
		if err := mustBeEmpty(dir); err != nil {
			return err
		}
		if err := writeRecord(record, opts); err != nil {
			return err
		}
	default:
		return err
	}
	for _, name := range ClassNames(opts.Classes) {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func mustBeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != recordName+".tmp" {
			return fmt.Errorf("it holds %s, which is not of a drawn set; choose an empty folder", e.Name())
		}
	}
	return nil
}

func readRecord(path string) (Options, error) {
	var opts Options
	data, err := os.ReadFile(path)
	if err != nil {
		return opts, err
	}
	if err := json.Unmarshal(data, &opts); err != nil {
		return opts, fmt.Errorf("read %s: %w; remove the folder and draw it again", path, err)
	}
	return opts, nil
}

func writeRecord(path string, opts Options) error {
	data, err := json.Marshal(opts)
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}

// String says what the set is, for messages.
func (o Options) String() string {
	return fmt.Sprintf("%d images of %d classes, %d px, seed %d", o.Images, o.Classes, o.Size, o.Seed)
}

func writeImage(dir string, opts Options, i int) error {
	path := filepath.Join(dir, classNames[i%opts.Classes], fmt.Sprintf("%06d.jpg", i))
	if wholeJPEG(path) {
		return nil
	}
	data, err := encode(opts, i)
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

// encode draws image i as JPEG.
func encode(opts Options, i int) ([]byte, error) {
	img, _ := Image(opts, i)
	var b bytes.Buffer
	b.Grow(opts.Size * opts.Size)
	err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality})
	return b.Bytes(), err
}

// wholeJPEG tells whether a file ends as a JPEG does. A rename without a sync can leave an empty or short file behind
// when the power fails, and syncing thousands of small files would cost more than drawing them.
func wholeJPEG(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only read
	var end [2]byte
	if _, err := f.Seek(-2, io.SeekEnd); err != nil {
		return false
	}
	_, err = io.ReadFull(f, end[:])
	return err == nil && end == [2]byte{0xff, 0xd9}
}

// writeFile writes beside the path and renames, so that what stands under the name is whole.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
