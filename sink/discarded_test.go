package sink

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/train"
)

func discardedAt(step int64) []train.DiscardedSample {
	s := train.DiscardedSample{Step: step, Loss: math.NaN(), GradNorm: math.Inf(1), LR: .5, ID: ingest.ID{Source: "s", Partition: 1}, Key: "a.jpg"}
	other := s
	other.ID.Offset, other.Key = 7, "b.jpg"
	return []train.DiscardedSample{s, other}
}

// Lines of steps that a checkpoint does not know of are cut when the run goes on from it.
func TestDiscardedStepsAreRecorded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, DiscardedFile)
	d, err := OpenDiscarded(dir, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a run without discarded steps has the file: %v", err)
	}
	for _, step := range []int64{3, 9} {
		if err := d.Write(discardedAt(step)); err != nil {
			t.Fatal(err)
		}
	}
	if d, err = OpenDiscarded(dir, 8); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(discardedAt(10)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	want := `{"grad_norm":null,"id":{"source":"s","partition":1,"offset":7},"key":"b.jpg","loss":null,"lr":0.5,"step":3}`
	if len(lines) != 4 || lines[1] != want || !strings.Contains(lines[3], `"step":10`) {
		t.Errorf("%s", text)
	}
}

func TestDiscardedStepsThatCannotBeRecorded(t *testing.T) {
	d, err := OpenDiscarded(filepath.Join(t.TempDir(), "gone"), -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(discardedAt(1)); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "write discarded step: ") {
		t.Errorf("got %v", err)
	}
}
