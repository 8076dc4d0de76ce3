package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/loader"
)

func letters(t *testing.T, dir string) *DeadLetters {
	t.Helper()
	d, err := OpenDeadLetters(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func letter(position uint64) loader.DeadLetter {
	return loader.DeadLetter{
		ID: ingest.ID{Source: "m", Partition: 4, Offset: int64(position)}, Key: "a\n\"b\".jpg", Reason: "truncated",
		Detail: "unexpected end", Bytes: 3, SHA256: "00ff", Position: position, Image: []byte{0xff, 0xd8, 0},
	}
}

func write(t *testing.T, d *DeadLetters, positions ...uint64) {
	t.Helper()
	var ls []loader.DeadLetter
	for _, p := range positions {
		ls = append(ls, letter(p))
	}
	if err := d.Write(ls); err != nil {
		t.Fatal(err)
	}
}

func synced(t *testing.T, d *DeadLetters) int64 {
	t.Helper()
	n, err := d.Sync()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stored returns the positions of the letters in the file, having compared the rest.
func stored(t *testing.T, dir string) []uint64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, DeadLettersFile))
	if err != nil {
		t.Fatal(err)
	}
	var positions []uint64
	for line := range bytes.Lines(data) {
		var l loader.DeadLetter
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		equal(t, "letter", l, letter(l.Position))
		positions = append(positions, l.Position)
	}
	return positions
}

// A bad image that a crashed run met after its last checkpoint is met again, and stored once.
func TestDeadLettersAreStoredOnce(t *testing.T) {
	dir := t.TempDir()
	d := letters(t, dir)
	write(t, d, 3, 5)
	write(t, d)
	at := synced(t, d) // the checkpoint
	write(t, d, 9)
	d.Close()
	d = letters(t, dir)
	if err := d.Truncate(at); err != nil {
		t.Fatal(err)
	}
	write(t, d, 9, 12)
	equal(t, "positions", stored(t, dir), []uint64{3, 5, 9, 12})
	if st, err := os.Stat(filepath.Join(dir, DeadLettersFile)); err != nil || st.Size() != synced(t, d) {
		t.Errorf("file has %d bytes, Sync says %d, %v", st.Size(), synced(t, d), err)
	}
	if err := d.Truncate(0); err != nil || len(stored(t, dir)) != 0 {
		t.Errorf("cut to nothing: %v", err)
	}
}

func TestDeadLettersTornEnd(t *testing.T) {
	dir := t.TempDir()
	d := letters(t, dir)
	write(t, d, 1)
	d.Close()
	path := filepath.Join(dir, DeadLettersFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, append(whole, `{"image":"`+strings.Repeat("A", 200<<10)...))
	d = letters(t, dir)
	write(t, d, 2)
	equal(t, "positions", stored(t, dir), []uint64{1, 2})
}

func TestDeadLettersThatSomebodyChanged(t *testing.T) {
	dir := t.TempDir()
	d := letters(t, dir)
	write(t, d, 1, 2)
	n := synced(t, d)
	for _, at := range []int64{n + 1, n - 1} { // too short; no end of a line
		if err := d.Truncate(at); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), DeadLettersFile) {
			t.Errorf("cut to %d of %d: error %v, want ErrChanged", at, n, err)
		}
	}
	write(t, d, 3)
	equal(t, "positions", stored(t, dir), []uint64{1, 3})
	if err := d.Truncate(-1); err == nil || errors.Is(err, ErrChanged) {
		t.Errorf("cut to -1: %v", err)
	}
}

func TestDeadLettersAfterAFailedWrite(t *testing.T) {
	dir := t.TempDir()
	d := letters(t, dir)
	write(t, d, 1)
	d.file.Close()
	if err := d.Write([]loader.DeadLetter{letter(2)}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if _, err := d.Sync(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
	equal(t, "positions", stored(t, dir), []uint64{1})
}
