package sink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Suffixes of step folders that are not checkpoints: being written or removed, and set aside while its successor of the
// same step takes its place.
const (
	tmpSuffix = ".tmp"
	oldSuffix = ".old"
)

// publish gives the finished folder its name. A folder that has the name already (a damaged one that the run passed
// over, or the same step reached again) is set aside first, under a name that recover puts back: at each instant one
// of the two is whole and can be found.
func (s *Store) publish(tmp, final string) error {
	old := final + oldSuffix
	aside := false
	if _, err := os.Lstat(final); err == nil {
		if err := s.fs.RemoveAll(old); err != nil {
			return err
		}
		if err := s.fs.Rename(final, old); err != nil {
			return err
		}
		aside = true
	}
	if err := s.fs.Rename(tmp, final); err != nil {
		if aside {
			err = errors.Join(err, s.fs.Rename(old, final))
		}
		return err
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return err
	}
	if aside {
		if err := s.fs.RemoveAll(old); err != nil {
			s.o.Warn(fmt.Sprintf("remove the checkpoint that was replaced: %v", err))
		}
	}
	return nil
}

// recover clears away what a crash left: folders half-written or half-removed, and one set aside by publish, which
// comes back if its successor never got the name.
func (s *Store) recover() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if base, ok := strings.CutSuffix(e.Name(), tmpSuffix); ok && isStep(base) {
			err = s.fs.RemoveAll(path)
		} else if base, ok := strings.CutSuffix(e.Name(), oldSuffix); ok && isStep(base) {
			err = s.restore(path, filepath.Join(s.dir, base))
		}
		if err != nil {
			return err
		}
	}
	return s.fs.SyncDir(s.dir)
}

func (s *Store) restore(old, final string) error {
	if _, err := os.Lstat(final); errors.Is(err, os.ErrNotExist) {
		return s.fs.Rename(old, final)
	}
	return s.fs.RemoveAll(old)
}

func isStep(name string) bool {
	_, ok := parseStep(name)
	return ok
}

// prune removes what Options no longer keep, now that the checkpoint of step is durable. A failure costs disk space
// only, so it is a warning. Damaged checkpoints count for nothing; a newer one stays until its step is reached again.
func (s *Store) prune(step int64) {
	if s.o.Keep == 0 {
		return
	}
	steps, err := listSteps(s.dir)
	if err != nil {
		s.o.Warn(fmt.Sprintf("prune checkpoints: %v", err))
		return
	}
	kept := 0
	for _, old := range steps {
		switch {
		case s.bad[old] && old > step:
		case !s.bad[old] && kept < s.o.Keep:
			kept++
		case old == step || !s.bad[old] && s.o.KeepEvery > 0 && old%s.o.KeepEvery == 0:
		default:
			s.remove(stepName(old))
		}
	}
}

// remove takes the name away first: a folder half-removed must not look like a torn checkpoint.
func (s *Store) remove(name string) {
	path := filepath.Join(s.dir, name)
	err := s.fs.Rename(path, path+tmpSuffix)
	if err == nil {
		err = s.fs.RemoveAll(path + tmpSuffix)
	}
	if err != nil {
		s.o.Warn(fmt.Sprintf("prune checkpoint %s: %v", name, err))
	}
}
