package sink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"mocostream/internal/objects"
	"mocostream/train"
)

// Newest implements train.Checkpoints: it downloads the newest whole checkpoint to the cache folder, where its further
// files stay until Close. Every byte is checked. The error wraps fs.ErrNotExist if the prefix holds no checkpoint at all,
// ErrTorn if it holds only damaged ones, ErrNewer if the newest needs a newer program.
func (s *S3Store) Newest(ctx context.Context) (*train.Checkpoint, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, err := s.folder.make("read")
	if err != nil {
		return nil, "", err
	}
	var c *train.Checkpoint
	w := remoteWalk{place: s.place, dir: dir, warn: s.o.Warn}
	folder, err := w.newest(ctx, s.tip.checkpoints(), func(stepDir string) (err error) {
		c, err = Read(stepDir)
		return err
	})
	for _, k := range w.bad {
		s.bad[k.Folder] = true
	}
	if err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(dir))
	}
	return c, filepath.Base(folder), nil
}

// ResolveS3 downloads the checkpoint that url means to the folder cache and returns its step folder there, every byte
// checked: s3://bucket/prefix stands for the newest whole one, s3://bucket/prefix/step-NNNNNNNNN for the newest of that
// step. A copy that is there already and agrees is not fetched again. It claims nothing and changes nothing in the bucket.
// warn, which may be nil, is told of damaged ones that are passed over. The error wraps fs.ErrNotExist if there is no such
// checkpoint, and does not if there are only damaged ones. client is an *objects.Client.
func ResolveS3(ctx context.Context, client objectClient, url, cache string, warn func(string)) (stepDir string, err error) {
	bucket, prefix, err := parseURL(url)
	if err != nil {
		return "", err
	}
	only := int64(-1)
	if step, ok := stepOfName(path.Base(prefix)); ok {
		only, prefix = step, path.Dir("/"+prefix)
	}
	p, err := newPlace(client, bucket, prefix)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	return p.resolve(ctx, only, cache, warn)
}

// stepOfName takes step-%09d and a folder of objects.
func stepOfName(name string) (int64, bool) {
	if step, ok := parseStep(name); ok {
		return step, true
	}
	step, _, ok := parseObjectFolder(name)
	return step, ok
}

// resolve looks again where the run saved and pruned meanwhile, which looks like damage.
func (p place) resolve(ctx context.Context, only int64, cache string, warn func(string)) (string, error) {
	for race := 0; ; race++ {
		var told []string
		tell := func(text string) { told = append(told, text) }
		t, err := p.newestTip(ctx, tell)
		if err != nil {
			return "", fmt.Errorf("look for checkpoints: %w", err)
		}
		list := t.checkpoints()
		if only >= 0 {
			list = slices.DeleteFunc(list, func(k keptStep) bool { return k.Step != only })
		}
		w := remoteWalk{place: p, dir: cache, warn: tell}
		folder, err := w.newest(ctx, list, func(string) error { return nil })
		if len(w.bad) > 0 && race < maxRaces {
			if later, listErr := p.generations(ctx, t.number); listErr == nil && len(later) > 0 {
				continue
			}
		}
		for _, text := range told {
			if warn != nil {
				warn(text)
			}
		}
		return folder, err
	}
}

// remoteWalk looks for the newest whole checkpoint among those that a generation names.
type remoteWalk struct {
	place
	dir  string // where they are downloaded to
	warn func(string)
	bad  []keptStep // those passed over, newest first
}

// newest downloads the first of list that is whole and that load takes. Damage is reported and passed over; any other
// error ends the walk: going on from an older checkpoint would silently undo good steps.
func (w *remoteWalk) newest(ctx context.Context, list []keptStep, load func(stepDir string) error) (string, error) {
	var first error
	for _, k := range list {
		folder, err := w.download(ctx, k)
		if err == nil {
			err = load(folder)
		}
		if err == nil {
			return folder, nil
		}
		if !errors.Is(err, ErrTorn) {
			return "", fmt.Errorf("read checkpoint %s: %w", w.url(k.Folder), err)
		}
		first = errors.Join(first, err)
		w.bad = append(w.bad, k)
		w.warn(fmt.Sprintf("checkpoint %s is passed over: %v", w.url(k.Folder), err))
	}
	if len(list) == 0 {
		return "", fmt.Errorf("look for checkpoints: %s holds none: %w", w.url(""), fs.ErrNotExist)
	}
	// Not %w of first: a missing file inside a checkpoint is fs.ErrNotExist too, which callers take for a new run.
	return "", fmt.Errorf("%w: all %d checkpoints in %s: %v; bring one back from a copy, or choose another prefix to start over",
		ErrTorn, len(list), w.url(""), first)
}

// download brings a checkpoint to the folder step-%09d of w.dir and verifies it there.
func (w *remoteWalk) download(ctx context.Context, k keptStep) (string, error) {
	saved, err := w.saved(ctx, k)
	if err != nil {
		return "", err
	}
	final := filepath.Join(w.dir, stepName(k.Step))
	if sum, err := sumFile(filepath.Join(final, stateFile)); err == nil && sum == saved.Files[stateFile] {
		if _, err := verify(final); err == nil {
			return final, nil
		}
	}
	tmp, err := os.MkdirTemp(w.dir, stepName(k.Step)+".*"+tmpSuffix)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // not there once renamed
	for _, name := range slices.Sorted(maps.Keys(saved.Files)) {
		if err := w.fetch(ctx, saved.Folder+"/"+name, filepath.Join(tmp, name), saved.Files[name]); err != nil {
			return "", err
		}
	}
	s, err := verify(tmp)
	if err == nil {
		err = sameStep(s.Step, k.Step)
	}
	if err == nil {
		err = errors.Join(os.Chmod(tmp, 0o755), os.RemoveAll(final), os.Rename(tmp, final))
	}
	return final, err
}

// saved reads what the generation of a checkpoint says about its files.
func (w *remoteWalk) saved(ctx context.Context, k keptStep) (*savedStep, error) {
	g, sum, err := w.readGeneration(ctx, k.Generation)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", ErrTorn, err)
	case err != nil:
		return nil, err
	case sum != k.Sum || g.Checkpoint == nil || g.Checkpoint.Folder != k.Folder || g.Checkpoint.Step != k.Step:
		return nil, fmt.Errorf("%w: generation %d is not the one that a later generation names", ErrTorn, k.Generation)
	}
	return g.Checkpoint, nil
}

// fetchTries is how often an object is read before its bytes are taken to be wrong where they lie.
const fetchTries = 3

// fetch downloads one object to the file to, in constant memory. An object that is gone or that is not what was written gives
// ErrTorn.
func (p place) fetch(ctx context.Context, name, to string, want fileSum) error {
	for try := 1; ; try++ {
		err := p.fetchOnce(ctx, name, to, want)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrTorn) {
			return fmt.Errorf("%s: %w", p.url(name), err)
		}
		if try == fetchTries {
			return fmt.Errorf("%s: %w", path.Base(name), err)
		}
	}
}

func (p place) fetchOnce(ctx context.Context, name, to string, want fileSum) error {
	o, err := p.client.Stat(ctx, p.bucket, p.key(name))
	if err != nil {
		return damaged(err)
	}
	if o.Size != want.Bytes {
		return fmt.Errorf("%w: it has %d bytes, its generation says %d", ErrTorn, o.Size, want.Bytes)
	}
	body, err := p.client.Get(ctx, p.bucket, o, 0)
	if err != nil {
		return damaged(err)
	}
	defer body.Close()
	got, err := copyTo(to, body)
	if err != nil {
		return damaged(err)
	}
	if got != want {
		err = fmt.Errorf("%w: its SHA-256 is not the one in its generation", ErrTorn)
	}
	return err
}

// damaged marks what says that an object is not what was written. Anything else says nothing about it.
func damaged(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, objects.ErrCorrupt) || errors.Is(err, objects.ErrChanged) {
		return fmt.Errorf("%w: %w", ErrTorn, err)
	}
	return err
}

// copyTo writes what r gives to a new file and returns its sum.
func copyTo(path string, r io.Reader) (fileSum, error) {
	f, err := os.Create(path)
	if err != nil {
		return fileSum{}, err
	}
	sum := summer{h: sha256.New(), w: f}
	_, err = io.Copy(&sum, r)
	return sum.sum(), errors.Join(err, f.Close())
}

func (s *summer) sum() fileSum { return fileSum{hexHash(s.h), s.n} }

func hexHash(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
