package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mocostream/internal/failpoint"
)

// Publisher makes exports available to other services. Publish takes the files that lie directly in folder, keeps them
// under version, a plain name, and lets latest point at them; it returns where they are. A version never changes: if there
// are other bytes under the name, the new ones go to version-2, and so on; equal ones are used again. A reader that
// follows latest sees a whole version at any instant. Older versions may be removed.
type Publisher interface {
	Publish(ctx context.Context, version, folder string) (location string, err error)
}

// LocalPublisher publishes to a folder: DIR/<version>/, and the symbolic link DIR/latest. One process at a time may use
// a folder.
type LocalPublisher struct {
	// Dir is made if need be.
	Dir string
	// Keep is how many of the newest versions stay, the latest among them; 0 keeps all.
	Keep int
	// Warn is told of what could not be removed; it may be nil.
	Warn func(string)
	// Point is called before and after latest changes, with the names of package failpoint; nil is nobody.
	Point func(name string)
}

var _ Publisher = (*LocalPublisher)(nil)

const (
	latestName  = "latest"
	maxVersions = 1000 // that begin with the same name
)

// Publish implements Publisher. folder is copied and stays.
func (p *LocalPublisher) Publish(ctx context.Context, version, folder string) (string, error) {
	if err := checkVersion(version); err != nil {
		return "", fmt.Errorf("publish: %w", err)
	}
	sums, err := sumFolder(folder)
	if err != nil {
		return "", fmt.Errorf("publish %s: %w", version, err)
	}
	for n := 1; n <= maxVersions; n++ {
		name := numbered(version, n)
		there, err := sumFolder(filepath.Join(p.Dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return p.publish(name, func(dir string) error { return copyFolder(ctx, dir, folder, sums) })
		case err != nil:
			return "", fmt.Errorf("publish %s: %w", version, err)
		case sameSums(there, sums):
			return p.publish(name, nil)
		}
	}
	return "", fmt.Errorf("publish %s: there are %d versions of that name with other bytes in %s", version, maxVersions, p.Dir)
}

// PublishLocal lets write fill a new folder, which becomes dir/<version> and what dir/latest points at. The version must
// not be there yet: the error wraps fs.ErrExist. On error latest stays as it was.
func PublishLocal(dir, version string, write func(folder string) error) error {
	if _, err := os.Lstat(filepath.Join(dir, version)); err == nil {
		return fmt.Errorf("publish %s: %w", filepath.Join(dir, version), fs.ErrExist)
	}
	_, err := (&LocalPublisher{Dir: dir}).publish(version, write)
	return err
}

// publish writes a version, if write is not nil, and points latest at it.
func (p *LocalPublisher) publish(version string, write func(dir string) error) (string, error) {
	final := filepath.Join(p.Dir, version)
	point := p.Point
	if point == nil {
		point = func(string) {}
	}
	err := checkVersion(version)
	if err == nil {
		err = os.MkdirAll(p.Dir, 0o755)
	}
	if err == nil && write != nil {
		err = writeVersion(p.Dir, version, write)
	}
	if err == nil {
		point(failpoint.PublishBefore)
		err = pointLatest(p.Dir, version)
	}
	if err != nil {
		return "", fmt.Errorf("publish %s: %w", final, err)
	}
	point(failpoint.PublishAfter)
	p.prune(version)
	return final, nil
}

// writeVersion writes beside, syncs and renames.
func writeVersion(dir, version string, write func(dir string) error) error {
	tmp := filepath.Join(dir, version+tmpSuffix)
	if err := os.RemoveAll(tmp); err != nil { // of a process that was killed
		return err
	}
	err := os.Mkdir(tmp, 0o755)
	if err == nil {
		err = write(tmp)
	}
	if err == nil {
		err = syncFolder(tmp)
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, version))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return syncDir(dir)
}

// pointLatest replaces the symbolic link at one stroke. It is relative, so the folder may be moved or mounted elsewhere.
func pointLatest(dir, version string) error {
	tmp := filepath.Join(dir, latestName+tmpSuffix)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(version, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, latestName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// prune removes all but the newest versions, by when they were written.
func (p *LocalPublisher) prune(latest string) {
	if p.Keep <= 0 {
		return
	}
	old, err := p.older(latest)
	for i := p.Keep - 1; err == nil && i < len(old); i++ {
		path := filepath.Join(p.Dir, old[i])
		gone := path + tmpSuffix // a version half-removed must not look like one
		if err = os.Rename(path, gone); err == nil {
			err = os.RemoveAll(gone)
		}
	}
	if err != nil && p.Warn != nil {
		p.Warn(fmt.Sprintf("remove old exports in %s: %v", p.Dir, err))
	}
}

// older lists the versions beside latest, newest first.
func (p *LocalPublisher) older(latest string) ([]string, error) {
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return nil, err
	}
	type version struct {
		name    string
		written int64
	}
	var list []version
	for _, e := range entries {
		if !e.IsDir() || e.Name() == latest || checkVersion(e.Name()) != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		list = append(list, version{e.Name(), info.ModTime().UnixNano()})
	}
	slices.SortStableFunc(list, func(a, b version) int {
		return cmp.Or(cmp.Compare(b.written, a.written), strings.Compare(b.name, a.name))
	})
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = v.name
	}
	return names, nil
}

// checkVersion refuses names that are no plain folder names or that stand for something else.
func checkVersion(version string) error {
	if version == "" || version == latestName || strings.HasPrefix(version, ".") || strings.HasSuffix(version, tmpSuffix) ||
		version != filepath.Base(version) || !filepath.IsLocal(version) || strings.ContainsFunc(version, notPlain) {
		return fmt.Errorf("version %q: use letters, digits, '-', '_' and '.', not %q", version, latestName)
	}
	return nil
}

func notPlain(r rune) bool {
	plain := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_.", r)
	return !plain
}

func numbered(version string, n int) string {
	if n == 1 {
		return version
	}
	return fmt.Sprintf("%s-%d", version, n)
}

// sumFolder returns the sums of the files that lie in a folder; it may hold nothing else.
func sumFolder(dir string) (map[string]fileSum, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sums := make(map[string]fileSum, len(entries))
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s is no plain file; an export consists of files alone", filepath.Join(dir, e.Name()))
		}
		if sums[e.Name()], err = sumFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

func sameSums(a, b map[string]fileSum) bool {
	if len(a) != len(b) {
		return false
	}
	for name, sum := range a {
		if b[name] != sum {
			return false
		}
	}
	return true
}

// copyFolder copies files and makes sure that the copies are what was summed.
func copyFolder(ctx context.Context, to, from string, sums map[string]fileSum) error {
	for name, want := range sums {
		if err := ctx.Err(); err != nil {
			return err
		}
		got, err := copyFile(filepath.Join(to, name), filepath.Join(from, name))
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("copy %s: it changed meanwhile", filepath.Join(from, name))
		}
	}
	return nil
}

func copyFile(to, from string) (fileSum, error) {
	f, err := os.Open(from)
	if err != nil {
		return fileSum{}, err
	}
	defer f.Close()
	return copyTo(to, f)
}

// syncFolder makes a folder and the files in it durable.
func syncFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := syncDir(filepath.Join(dir, e.Name())); err != nil { // works for files too
			return err
		}
	}
	return syncDir(dir)
}
