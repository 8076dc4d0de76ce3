package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mocostream/internal/failpoint"
	"mocostream/internal/objects"
)

// S3PublisherOptions of an S3Publisher.
type S3PublisherOptions struct {
	Client         objectClient // an *objects.Client
	Bucket, Prefix string       // versions go to PREFIX/exports/
	// Keep is how many of the newest versions stay, the latest among them; 0 keeps all.
	Keep int
	// Check is asked before anything is written and again before latest changes, S3Store.Check for one; nil: no one.
	Check func(ctx context.Context) error
	// Warn is told of what could not be removed; it may be nil.
	Warn func(string)
	// Point is called before and after latest changes, with the names of package failpoint; nil is nobody.
	Point func(name string)
}

// S3Publisher publishes to a bucket: PREFIX/exports/<version>/..., and PREFIX/exports/latest.json, which names the files
// with their sums and is written last. Objects of a version are written once.
type S3Publisher struct {
	place
	o S3PublisherOptions
}

var _ Publisher = (*S3Publisher)(nil)

const (
	exportsFolder = "exports/"
	latestFile    = exportsFolder + "latest.json"
)

// pointer is latest.json.
type pointer struct {
	FormatVersion int                `json:"format_version"`
	Version       string             `json:"version"`
	Files         map[string]fileSum `json:"files"`
	Older         []string           `json:"older"` // versions that are still there, newest first
	Gone          []string           `json:"gone"`  // versions that are being removed
}

// NewS3Publisher contacts nobody yet.
func NewS3Publisher(o S3PublisherOptions) (*S3Publisher, error) {
	p, err := newPlace(o.Client, o.Bucket, o.Prefix)
	if err != nil {
		return nil, fmt.Errorf("publish to S3: %w", err)
	}
	if o.Keep < 0 {
		return nil, fmt.Errorf("publish to %s: keep %d must not be negative", p.url(""), o.Keep)
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Point == nil {
		o.Point = func(string) {}
	}
	if o.Check == nil {
		o.Check = func(context.Context) error { return nil }
	}
	return &S3Publisher{p, o}, nil
}

// Publish implements Publisher. The error wraps what Check returned (ErrFenced), and ErrFenced if another process
// published at the same moment.
func (p *S3Publisher) Publish(ctx context.Context, version, folder string) (string, error) {
	name, err := p.publish(ctx, version, folder)
	if err != nil {
		return "", fmt.Errorf("publish %s: %w", p.url(exportsFolder+version), err)
	}
	return p.url(exportsFolder + name), nil
}

func (p *S3Publisher) publish(ctx context.Context, version, folder string) (string, error) {
	if err := checkVersion(version); err != nil {
		return "", err
	}
	sums, err := sumFolder(folder)
	if err != nil {
		return "", err
	}
	if err := p.o.Check(ctx); err != nil {
		return "", err
	}
	name, err := p.upload(ctx, version, folder, sums)
	if err != nil {
		return "", err
	}
	p.o.Point(failpoint.PublishBefore)
	was, etag, err := p.latestPointer(ctx)
	if err != nil {
		return "", err
	}
	now := p.next(was, name, sums)
	err = p.point(ctx, now, etag)
	if err != nil {
		return "", err
	}
	p.o.Point(failpoint.PublishAfter)
	p.prune(ctx, now.Gone)
	return name, nil
}

// upload puts the files under the first name of the version where no other bytes lie.
func (p *S3Publisher) upload(ctx context.Context, version, folder string, sums map[string]fileSum) (string, error) {
	for n := 1; n <= maxVersions; n++ {
		name := numbered(version, n)
		err := p.uploadAs(ctx, name, folder, sums)
		if !errors.Is(err, objects.ErrExists) {
			return name, err
		}
	}
	return "", fmt.Errorf("there are %d versions of that name with other bytes", maxVersions)
}

// uploadAs returns an error that wraps objects.ErrExists if something else lies under the name, or part of it.
func (p *S3Publisher) uploadAs(ctx context.Context, version, folder string, sums map[string]fileSum) error {
	prefix := exportsFolder + version + "/"
	for name, err := range p.list(ctx, prefix, "") {
		if err != nil {
			return err
		}
		if _, ours := sums[strings.TrimPrefix(name, prefix)]; !ours {
			return fmt.Errorf("%s: %w", p.url(name), objects.ErrExists)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if err := p.uploadFile(ctx, prefix+name, filepath.Join(folder, name), sums[name]); err != nil {
			return err
		}
	}
	return nil
}

func (p *S3Publisher) uploadFile(ctx context.Context, name, path string, want fileSum) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = p.client.Put(ctx, p.bucket, p.key(name), f, objects.PutOptions{IfNoneMatch: true})
	if !errors.Is(err, objects.ErrExists) {
		return err
	}
	got, readErr := p.sumObject(ctx, name)
	if readErr != nil {
		return readErr
	}
	if got == want { // put before, by a try whose answer was lost or by a process that was killed
		return nil
	}
	return err
}

func (p place) sumObject(ctx context.Context, name string) (fileSum, error) {
	o, err := p.client.Stat(ctx, p.bucket, p.key(name))
	if err != nil {
		return fileSum{}, err
	}
	body, err := p.client.Get(ctx, p.bucket, o, 0)
	if err != nil {
		return fileSum{}, err
	}
	defer body.Close()
	return sumReader(body)
}

// next makes version the latest. What the process before may not have come to remove goes too.
func (p *S3Publisher) next(was pointer, version string, sums map[string]fileSum) pointer {
	now := pointer{FormatVersion: formatVersion, Version: version, Files: sums, Older: []string{}, Gone: []string{}}
	seen := map[string]bool{version: true}
	for i, old := range slices.Concat([]string{was.Version}, was.Older, was.Gone) {
		switch {
		case seen[old] || checkVersion(old) != nil:
		case i <= len(was.Older) && (p.o.Keep == 0 || len(now.Older) < p.o.Keep-1):
			now.Older = append(now.Older, old)
		default:
			now.Gone = append(now.Gone, old)
		}
		seen[old] = true
	}
	return now
}

// point puts latest.json in the place of the one with the given ETag.
func (p *S3Publisher) point(ctx context.Context, now pointer, etag string) error {
	text, err := json.MarshalIndent(now, "", " ")
	if err != nil {
		return err
	}
	if err := p.o.Check(ctx); err != nil { // as late as possible; what comes between shows in the ETag
		return err
	}
	text = append(text, '\n')
	_, err = p.put(ctx, latestFile, text, objects.PutOptions{IfNoneMatch: etag == "", IfMatch: etag})
	if errors.Is(err, objects.ErrExists) {
		err = p.lostPointer(ctx, text)
	}
	return err
}

// lostPointer tells a try whose answer was lost from another process.
func (p *S3Publisher) lostPointer(ctx context.Context, text []byte) error {
	there, _, err := p.read(ctx, latestFile)
	if err == nil && !bytes.Equal(there, text) {
		err = fmt.Errorf("%w: it has changed %s", ErrFenced, p.url(latestFile))
	}
	return err
}

// latestPointer reads latest.json. One that makes no sense is replaced: it only points.
func (p *S3Publisher) latestPointer(ctx context.Context) (pointer, string, error) {
	data, etag, err := p.read(ctx, latestFile)
	if errors.Is(err, fs.ErrNotExist) {
		return pointer{}, "", nil
	}
	if err != nil {
		return pointer{}, "", err
	}
	var was pointer
	if err := json.Unmarshal(data, &was); err != nil {
		p.o.Warn(fmt.Sprintf("%s is replaced, it was damaged: %v", p.url(latestFile), err))
		return pointer{}, etag, nil
	}
	if was.FormatVersion > formatVersion {
		return was, etag, fmt.Errorf("%s: %w: use the newer one", p.url(latestFile), ErrNewer)
	}
	return was, etag, nil
}

func (p *S3Publisher) prune(ctx context.Context, versions []string) {
	for _, version := range versions {
		var names []string
		var err error
		for name, listErr := range p.list(ctx, exportsFolder+version+"/", "") {
			if err = listErr; err != nil {
				break
			}
			names = append(names, name)
		}
		if err == nil {
			err = p.remove(ctx, names)
		}
		if err != nil {
			p.o.Warn(fmt.Sprintf("remove %s: %v", p.url(exportsFolder+version), err))
		}
	}
}
