package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func keepText(base string) bool { return strings.HasSuffix(base, ".txt") }

func names(t *testing.T, w Walk) ([]string, error) {
	t.Helper()
	var all []string
	for f, err := range w.Files(t.Context()) {
		if err != nil {
			return all, err
		}
		all = append(all, f.Name)
	}
	return all, nil
}

func TestFilesSortedAndFiltered(t *testing.T) {
	root := t.TempDir()
	want := []string{"a-b/x.txt", "a/deep/er/y.txt", "a/x.txt", "b.txt", "ü/z.txt"}
	write(t, root, want...)
	write(t, root, ".hidden.txt", ".folder/x.txt", "a/.b/x.txt", "a/image.jpg")
	if err := os.MkdirAll(filepath.Join(root, "folder.txt"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := names(t, Walk{Root: root, Keep: keepText, Temp: t.TempDir()})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestFilesLinks(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	write(t, elsewhere, "one.txt", "sub/two.txt")
	write(t, root, "in/own.txt")
	link(t, filepath.Join(elsewhere, "one.txt"), filepath.Join(root, "linked.txt"))
	link(t, elsewhere, filepath.Join(root, "other"))
	link(t, root, filepath.Join(root, "in", "up"))
	link(t, "self", filepath.Join(root, "self"))
	link(t, filepath.Join(root, "nowhere"), filepath.Join(root, "dangling.jpg"))

	got, err := names(t, Walk{Root: root, Keep: keepText, Temp: t.TempDir()})
	if want := []string{"in/own.txt", "linked.txt"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("not following: got %v, %v; want %v", got, err, want)
	}
	got, err = names(t, Walk{Root: root, Keep: keepText, Temp: t.TempDir(), FollowSymlinks: true})
	if want := []string{"in/own.txt", "linked.txt", "other/one.txt", "other/sub/two.txt"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("following: got %v, %v; want %v", got, err, want)
	}
	link(t, filepath.Join(root, "nowhere"), filepath.Join(root, "dangling.txt"))
	if _, err = names(t, Walk{Root: root, Keep: keepText, Temp: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "dangling.txt") {
		t.Errorf("dangling link: %v", err)
	}
}

func TestFilesCancelled(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a.txt", "b.txt")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for f, err := range (Walk{Root: root, Keep: keepText, Temp: t.TempDir()}).Files(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", f, err)
		}
	}
}

func TestFilesMissing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "none")
	if _, err := names(t, Walk{Root: root, Keep: keepText}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), root) {
		t.Errorf("missing folder: %v", err)
	}
}

func TestSorterSpills(t *testing.T) {
	for _, n := range []int{0, 1, 10, 11, 95, 100} {
		temp := filepath.Join(t.TempDir(), "new")
		s := sorter{temp: temp, limit: 10}
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		want := make([]File, n)
		for i := range want {
			want[i] = File{Name: fmt.Sprintf("%d/%d", rng.IntN(3), i), Size: rng.Int64()}
		}
		for _, i := range rng.Perm(n) {
			if err := s.add(want[i]); err != nil {
				t.Fatal(err)
			}
		}
		if n > 0 { // a name that is listed twice counts once
			if err := s.add(want[0]); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortFunc(want, compareFiles)
		var got []File
		for f, err := range s.sorted() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, f)
		}
		s.close()
		if !slices.Equal(got, want) {
			t.Errorf("%d files: got %v, want %v", n, got, want)
		}
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
}

func TestSorterMemory(t *testing.T) {
	const n, limit = 100_000, 2 << 20
	s := sorter{temp: t.TempDir(), limit: 2000}
	defer s.close()
	before := heapBytes()
	for i := range n {
		if err := s.add(File{Name: fmt.Sprintf("folder/with/a/long/name/%09d.jpg", i*7919%n)}); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	for _, err := range s.sorted() {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == n/2 {
			if after := heapBytes(); after > before+limit {
				t.Errorf("heap went from %d to %d bytes", before, after)
			}
		}
	}
	if count != n {
		t.Errorf("%d files came back of %d", count, n)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestSorterReportsTornSpill(t *testing.T) {
	s := sorter{temp: t.TempDir(), limit: 2}
	defer s.close()
	for i := range 7 {
		if err := s.add(File{Name: fmt.Sprint("name", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.spill.Truncate(s.ends[1] + 3); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.sorted() {
		if err != nil {
			return
		}
	}
	t.Error("no error")
}
