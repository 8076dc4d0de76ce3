package shards

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mocostream/ingest"
	"mocostream/ingest/internal/files"
	"mocostream/ingest/internal/shard"
)

// root returns the folder that the shards' names are below. It follows from Path alone, so that a shard added later
// changes no name.
func (s *Source) root() string {
	info, err := os.Stat(s.Path)
	if err == nil && info.IsDir() {
		return s.Path
	}
	folder := filepath.Dir(s.Path)
	for err != nil && hasMeta(folder) {
		folder = filepath.Dir(folder)
	}
	return folder
}

func hasMeta(path string) bool { return strings.ContainsAny(path, `*?[`) }

// partitions lists and counts the shards as they are now.
func (s *Source) partitions(ctx context.Context) iter.Seq2[ingest.Partition, error] {
	return func(yield func(ingest.Partition, error) bool) {
		root := s.root()
		index := s.index(root)
		shards, samples := 0, int64(0)
		for f, err := range s.files(ctx, root) {
			p := ingest.Partition{Name: f.Name, Size: f.Size}
			if err == nil {
				p.Count, err = s.count(ctx, root, f, index)
			}
			shards++
			samples += p.Count
			if !yield(p, err) || err != nil {
				return
			}
		}
		if samples == 0 {
			yield(ingest.Partition{}, s.emptyError(shards))
		}
	}
}

func (s *Source) emptyError(shards int) error {
	if shards == 0 {
		return fmt.Errorf("list shards: no tar, Parquet or Arrow file matches %s; set ingest.shards to a shard, a pattern of shards or their folder", s.Path)
	}
	return fmt.Errorf("list shards: no image in the %d shards of %s; in a tar a sample's image is named KEY.jpg, .jpeg, .png or "+
		".webp, without a further dot in KEY", shards, s.Path)
}

// files yields the shards in the order of their names.
func (s *Source) files(ctx context.Context, root string) iter.Seq2[files.File, error] {
	if root == s.Path {
		return files.Walk{Root: root, Keep: shard.Is, Temp: s.ManifestDir}.Files(ctx)
	}
	return func(yield func(files.File, error) bool) {
		matches, err := s.matches()
		if err != nil {
			yield(files.File{}, fmt.Errorf("list shards: %w", err))
			return
		}
		var found []files.File
		for _, match := range matches {
			f, err := describe(root, match)
			if err != nil {
				yield(f, fmt.Errorf("list shards: %w", err))
				return
			}
			if f.Name != "" {
				found = append(found, f)
			}
		}
		slices.SortFunc(found, func(a, b files.File) int { return strings.Compare(a.Name, b.Name) })
		for _, f := range found {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// matches resolves Path: the file of that very name, or else what it matches as a pattern.
func (s *Source) matches() ([]string, error) {
	_, err := os.Stat(s.Path)
	switch {
	case err == nil:
		return []string{s.Path}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case !hasMeta(s.Path):
		return nil, fmt.Errorf("%w; set ingest.shards to a shard, a pattern of shards or their folder", err)
	}
	matches, err := filepath.Glob(s.Path)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s.Path, err)
	}
	return matches, nil
}

// describe returns what a match is below root, nothing for a folder or a hidden file.
func describe(root, match string) (files.File, error) {
	info, err := os.Stat(match)
	if err != nil {
		return files.File{}, err
	}
	if !info.Mode().IsRegular() || strings.HasPrefix(filepath.Base(match), ".") {
		return files.File{}, nil
	}
	name, err := filepath.Rel(root, match)
	return files.File{Name: filepath.ToSlash(name), Size: info.Size()}, err
}

// index reads the one in the root. Without it, or where it is damaged, all shards are counted.
func (s *Source) index(root string) map[string]shard.Entry {
	path := filepath.Join(root, shard.IndexName)
	o, err := shard.OpenFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var index map[string]shard.Entry
	if err == nil {
		defer o.Close()
		index, err = shard.ReadIndex(io.NewSectionReader(o, 0, o.Size()))
	}
	if err != nil {
		s.warn(fmt.Sprintf("%s is not used, the shards are counted: %v; write it again with: mocostream index", path, err))
	}
	return index
}

func (s *Source) warn(text string) {
	if s.Warn != nil {
		s.Warn(text)
	}
}

// count asks the index for the number of a shard's samples, or else counts them.
func (s *Source) count(ctx context.Context, root string, f files.File, index map[string]shard.Entry) (int64, error) {
	n, ok, err := shard.CountOf(index, f.Name, f.Size)
	if ok {
		return n, ctx.Err()
	}
	if err != nil {
		s.warn(fmt.Sprintf("shards in %s: %v", root, err))
	}
	o, err := shard.OpenFile(filepath.Join(root, filepath.FromSlash(f.Name)))
	if err != nil {
		return 0, fmt.Errorf("count samples: %w", err)
	}
	defer o.Close()
	return shard.Count(ctx, o)
}
