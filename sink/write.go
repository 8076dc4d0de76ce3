package sink

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"mocostream/internal/failpoint"
	"mocostream/internal/safetensors"
	"mocostream/train"

	"golang.org/x/sys/unix"
)

// folderWriter writes the files of a checkpoint. point is told before and after each, by the names of package failpoint.
type folderWriter struct {
	fs    files
	point func(name string)
}

// write makes the folder tmp durable with all that c holds, and returns the sums of its files, state.json's too.
func (w folderWriter) write(ctx context.Context, tmp string, c *train.Checkpoint) (map[string]fileSum, error) {
	if err := w.fs.Mkdir(tmp); err != nil {
		return nil, err
	}
	st := state{
		Step: c.Step, Samples: c.Samples, Token: c.Token, Seed: c.Seed, Encoder: c.Encoder,
		Config: c.Config, Versions: c.Versions, Extra: c.Extra, Files: map[string]fileSum{},
	}
	for _, part := range []struct {
		name    string
		tensors []safetensors.Tensor
	}{{modelFile, c.Model}, {optimizerFile, c.Optimizer}} {
		sum, err := w.data(ctx, filepath.Join(tmp, part.name), func(w io.Writer) error {
			return safetensors.Write(w, part.tensors, map[string]string{"format": "pt"})
		})
		if err != nil {
			return nil, err
		}
		st.Files[part.name] = sum
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		sum, err := w.data(ctx, filepath.Join(tmp, name), func(w io.Writer) error {
			_, err := c.Files[name].WriteTo(w)
			return err
		})
		if err != nil {
			return nil, err
		}
		st.Files[name] = sum
	}
	for _, name := range slices.Sorted(maps.Keys(c.Linked)) {
		sum, err := w.linked(ctx, filepath.Join(tmp, name), c.Linked[name])
		if err != nil {
			return nil, err
		}
		st.Files[name] = sum
	}
	sum, err := w.state(ctx, filepath.Join(tmp, stateFile), st)
	if err != nil {
		return nil, err
	}
	sums := maps.Clone(st.Files)
	sums[stateFile] = sum
	return sums, w.fs.SyncDir(tmp)
}

// linked makes a link, or a copy where the file system gives none.
func (w folderWriter) linked(ctx context.Context, path string, from train.LinkedFile) (fileSum, error) {
	want := fileSum{SHA256: from.SHA256, Bytes: from.Bytes}
	if err := ctx.Err(); err != nil {
		return want, err
	}
	err := w.fs.Link(from.Path, path)
	if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EMLINK) && !errors.Is(err, unix.ENOTSUP) {
		return want, err
	}
	got, err := w.data(ctx, path, func(to io.Writer) error {
		f, err := os.Open(from.Path)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, f)
		return errors.Join(err, f.Close())
	})
	if err == nil && got != want {
		err = fmt.Errorf("%s: %w: it is not what was written there", from.Path, ErrTorn)
	}
	return want, err
}

func (w folderWriter) data(ctx context.Context, path string, write func(io.Writer) error) (fileSum, error) {
	w.point(failpoint.CheckpointFileBefore)
	sum, err := w.file(ctx, path, write)
	if err == nil {
		w.point(failpoint.CheckpointFileAfter)
	}
	return sum, err
}

func (w folderWriter) state(ctx context.Context, path string, st state) (fileSum, error) {
	text, err := encodeState(st)
	if err != nil {
		return fileSum{}, err
	}
	w.point(failpoint.CheckpointManifestBefore)
	sum, err := w.file(ctx, path, func(out io.Writer) error {
		_, err := out.Write(text)
		return err
	})
	if err == nil {
		w.point(failpoint.CheckpointManifestAfter)
	}
	return sum, err
}

// file creates path with what write gives, synced, and returns the sum of those bytes.
func (w folderWriter) file(ctx context.Context, path string, write func(io.Writer) error) (fileSum, error) {
	if err := ctx.Err(); err != nil {
		return fileSum{}, err
	}
	f, err := w.fs.Create(path)
	if err != nil {
		return fileSum{}, err
	}
	sum := summer{h: sha256.New(), w: f}
	buf := bufio.NewWriterSize(&sum, 1<<20)
	err = write(buf)
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fileSum{}, fmt.Errorf("write %s: %w", path, err)
	}
	return fileSum{SHA256: hex.EncodeToString(sum.h.Sum(nil)), Bytes: sum.n}, nil
}

// summer hashes what should reach the file, whatever the file makes of it.
type summer struct {
	h hash.Hash
	n int64
	w io.Writer
}

func (s *summer) Write(p []byte) (int, error) {
	s.h.Write(p)
	s.n += int64(len(p))
	return s.w.Write(p)
}
