package sink

import (
	"path/filepath"
	"testing"
)

func names(steps ...int64) []string {
	var s []string
	for _, step := range steps {
		s = append(s, stepName(step))
	}
	return s
}

func TestPrune(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want []string
	}{
		{Options{}, names(10, 20, 30, 40, 50)},
		{Options{Keep: 1}, names(50)},
		{Options{Keep: 2}, names(40, 50)},
		{Options{Keep: 2, KeepEvery: 20}, names(20, 40, 50)},
		{Options{Keep: 9}, names(10, 20, 30, 40, 50)},
	} {
		dir := t.TempDir()
		s := reopen(t, dir, c.o)
		for step := int64(10); step <= 50; step += 10 {
			save(t, s, checkpoint(step, 0))
		}
		equal(t, "kept", folders(t, dir), c.want)
	}
}

// A damaged checkpoint does not take the place of a whole one, and goes when a newer whole one is there.
func TestPruneCountsWholeOnesOnly(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{})
	save(t, s, checkpoint(10, 0), checkpoint(20, 0), checkpoint(30, 0))
	s.Close()
	overwrite(t, filepath.Join(dir, stepName(30), modelFile), []byte("torn"))
	s = reopen(t, dir, Options{Keep: 2})
	if _, name, err := s.Newest(t.Context()); err != nil || name != stepName(20) {
		t.Fatalf("newest is %q, %v", name, err)
	}
	save(t, s, checkpoint(25, 0))
	equal(t, "after step 25", folders(t, dir), names(20, 25, 30))
	save(t, s, checkpoint(35, 0))
	equal(t, "after step 35", folders(t, dir), names(25, 35))
}

// The step that a run reaches again replaces the damaged one of that name.
func TestSaveReplaces(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{Keep: 1})
	save(t, s, checkpoint(10, 1))
	overwrite(t, filepath.Join(dir, stepName(10), stateFile), nil)
	save(t, s, checkpoint(10, 2))
	c, _, err := s.Newest(t.Context())
	if err != nil || mark(t, c) != 2 {
		t.Errorf("newest is %v, %v", c, err)
	}
	equal(t, "folders", folders(t, dir), names(10))
}

// What was just saved stays, whatever else the folder holds.
func TestPruneNeverRemovesWhatWasJustSaved(t *testing.T) {
	dir := t.TempDir()
	s := reopen(t, dir, Options{Keep: 1})
	save(t, s, checkpoint(50, 0), checkpoint(10, 0))
	equal(t, "folders", folders(t, dir), names(10, 50))
}
